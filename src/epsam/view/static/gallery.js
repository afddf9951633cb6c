// The patches of a run: which of them, in which order, and their pictures.
"use strict";

(function () {
  const state = { patches: [], order: [], index: -1 };
  const element = (id) => document.getElementById(id);
  epsam.gallery = state;
  const OUTSIDE = "corrected";
  // The others are corrected in their slide or image.
  epsam.canCorrect = (index) => Boolean(epsam.correct) && state.patches[index].split !== OUTSIDE;

  // Called by patches.js.
  epsam.setPatches = function (run) {
    state.patches = run.patches;
    // A corrected run may have patches of slides and images that the dataset does not hold.
    if (run.patches.some((patch) => patch.split === OUTSIDE)) {
      element("split").add(new Option("corrected, outside of the dataset", OUTSIDE));
    }
    element("title").textContent = run.title;
    followAddress();
  };

  function chooseOrder() {
    const key = element("order").value;
    const all = epsam.sortImages(state.patches, key, key === "uncertainty");
    const split = element("split").value, label = element("label").value;
    return all.filter(function (index) {
      const patch = state.patches[index];
      return patch.split === split && (label === "" || String(patch.label) === label);
    });
  }

  function drawPicture(index, picture) {
    const figure = document.createElement("figure");
    if (picture.file) {
      const image = document.createElement("img");
      // Only what is near the screen is drawn and sent.
      image.loading = "lazy";
      image.alt = picture.title;
      image.src = "pictures/" + index + "/" + picture.file;
      figure.append(image);
    }
    const caption = document.createElement("figcaption");
    caption.textContent = picture.title + (picture.caption ? ": " + picture.caption : "");
    figure.append(caption);
    return figure;
  }

  function drawPatch(index) {
    const patch = state.patches[index];
    const article = document.createElement("article");
    article.dataset.index = index;
    const head = document.createElement("h2");
    const scores = document.createElement("small");
    const titles = { dice: "Dice", ids: "IDS", uncertainty: "uncertainty" };
    for (const key of Object.keys(titles)) {
      if (patch[key] !== null) scores.append(" · " + titles[key] + " " + patch[key].toFixed(3));
    }
    head.append(patch.name, scores);
    if (epsam.canCorrect(index)) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = "correct";
      button.onclick = () => epsam.correct(index);
      head.append(" ", button);
    }
    const pictures = document.createElement("div");
    pictures.className = "pictures";
    pictures.append(...patch.pictures.map((picture) => drawPicture(index, picture)));
    article.append(head, pictures);
    article.onclick = () => mark(index);
    return article;
  }

  function draw() {
    state.order = chooseOrder();
    element("count").textContent = state.order.length + " of " + state.patches.length;
    element("patches").replaceChildren(...state.order.map(drawPatch));
    keepAddress();
  }

  function mark(index, scroll) {
    state.index = index;
    for (const article of document.querySelectorAll("article")) {
      const isMarked = Number(article.dataset.index) === index;
      if (isMarked) article.setAttribute("aria-current", "true");
      else article.removeAttribute("aria-current");
      if (isMarked && scroll) article.scrollIntoView();
    }
    keepAddress();
  }

  function keepAddress() {
    const patch = state.patches[state.index];
    const values = new URLSearchParams({
      split: element("split").value, label: element("label").value, order: element("order").value,
      patch: patch ? patch.name : "",
    });
    history.replaceState(null, "", "#" + values.toString());
  }

  function followAddress() {
    const values = new URLSearchParams(location.hash.replace(/^#/, ""));
    for (const id of ["split", "label", "order"]) {
      const options = [...element(id).options].map((option) => option.value);
      if (values.has(id) && options.includes(values.get(id))) element(id).value = values.get(id);
    }
    draw();
    const index = state.patches.findIndex((patch) => patch.name === values.get("patch"));
    if (index >= 0) mark(index, true);
  }

  for (const id of ["split", "label", "order"]) element(id).onchange = draw;
  window.addEventListener("hashchange", followAddress);
  document.addEventListener("keydown", function (event) {
    const step = { n: 1, p: -1 }[event.key];
    if (!step || event.ctrlKey || event.altKey || event.metaKey || !state.order.length) return;
    const isInOrder = state.order.includes(state.index);
    mark(isInOrder ? epsam.neighbour(state.order, state.index, step) : state.order[0], true);
  });
})();
