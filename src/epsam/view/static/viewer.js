// The slide, its layers and the controls.
"use strict";

(function () {
  const LAYERS = [
    { name: "probability", title: "probability" },
    { name: "uncertainty", title: "uncertainty" },
    { name: "mask", title: "mask outline" },
    { name: "ground_truth", title: "ground truth" },
    { name: "tumour", title: "tumour regions" },
    { name: "annotations", title: "ground truth" },
    { name: "tiles", title: "tiles" },
  ];

  const state = {
    images: [], order: [], sortKey: "name", descending: false, palettes: {},
    index: -1, image: null, items: {}, shown: new Set(), threshold: 0.5, opacity: 0.5,
    tables: {}, place: null, outlines: {}, tiles: null,
  };
  const element = (id) => document.getElementById(id);
  const viewer = OpenSeadragon({
    element: element("viewer"),
    // Pictures of a page on a disk may be drawn, but not given to the graphics card.
    drawer: "canvas",
    showNavigationControl: false,
    maxZoomPixelRatio: 8,
    visibilityRatio: 0.2,
    animationTime: 0.4,
    gestureSettingsMouse: { clickToZoom: false },
  });
  epsam.viewer = viewer;
  epsam.state = state;

  epsam.setList = function (list) {
    Object.assign(state, { images: list.images, palettes: list.palettes, shown: new Set(list.first_shown) });
    element("title").textContent = list.title;
    state.tables = epsam.colourTables(state.palettes, state.threshold);
    sortBy("name", false);
    followAddress();
    askForUncertainty();
  };

  // Called by uncertainty.js.
  epsam.setUncertainty = function (values, isComplete) {
    values.forEach((value, index) => { state.images[index].uncertainty = value; });
    sortBy(state.sortKey, state.descending);
    if (!isComplete) setTimeout(askForUncertainty, 2000);
  };

  // Called by tables/<number>.js.
  epsam.setTiles = function (number, tiles) {
    if (number !== state.index) return;
    state.tiles = tiles;
    draw();
  };

  // Called by images/<number>.js.
  epsam.setImage = function (number, image) {
    if (number !== state.index) return;
    Object.assign(state, { image: image, outlines: {}, tiles: null });
    element("name").textContent = image.name;
    drawControls();
    openLayers();
  };

  function choose(index, place) {
    state.index = index;
    state.place = place || null;
    epsam.markRow(index);
    say("");
    epsam.loadScript("images/" + index + ".js", () => say(state.images[index].name + " cannot be read"));
  }

  function sortBy(key, descending) {
    Object.assign(state, { sortKey: key, descending: descending });
    state.order = epsam.sortImages(state.images, key, descending);
    // The name from A on, numbers from the highest on; Dice from the worst on.
    epsam.drawList(state, choose, function (chosen) {
      const isDescending = chosen !== "name" && chosen !== "dice";
      sortBy(chosen, chosen === state.sortKey ? !state.descending : isDescending);
    });
    epsam.markRow(state.index);
  }

  function tileSource(name, layer) {
    const suffix = name === "image" ? ".jpg" : ".png";
    return {
      width: layer.width, height: layer.height, tileSize: 256, tileOverlap: 0,
      minLevel: layer.coarsest, maxLevel: layer.finest,
      getTileUrl: (level, x, y) => epsam.tileAddress(state.index, name, level, x, y, suffix),
    };
  }

  // A page on a disk replaces this.
  epsam.tileAddress = function (index, name, level, x, y, suffix) {
    return ["tiles", index, name, level, x + "_" + y + suffix].join("/");
  };

  function openLayers() {
    const index = state.index;
    state.items = {};
    viewer.world.removeAll();
    const width0 = state.image.layers.image.span;
    for (const name of ["image", ...LAYERS.map((layer) => layer.name)]) {
      const layer = state.image.layers[name];
      if (!layer) continue;
      viewer.addTiledImage({
        tileSource: tileSource(name, layer), x: 0, y: 0, width: layer.span / width0,
        opacity: name === "image" ? 1 : opacityOf(name),
        success: function (event) {
          if (index !== state.index) return;
          state.items[name] = event.item;
          event.item.epsamLayer = name;
          if (name === "image") goTo(state.place);
        },
      });
    }
  }

  function opacityOf(name) {
    if (!state.shown.has(name)) return 0;
    return name === "probability" || name === "uncertainty" ? state.opacity : 1;
  }

  viewer.addHandler("tile-invalidated", async function (event) {
    const table = state.tables[event.tiledImage.epsamLayer];
    if (!table) return;
    const context = await event.getData("context2d");
    if (!context || event.outdated()) return;
    epsam.colourCanvas(context, table);
    await event.setData(context, "context2d");
  });

  function setThreshold(threshold) {
    state.threshold = threshold;
    element("threshold").value = threshold;
    element("threshold-value").textContent = threshold.toFixed(2);
    state.tables = epsam.colourTables(state.palettes, threshold);
    if (state.items.probability) state.items.probability.requestInvalidate(true);
  }

  function showLayers() {
    for (const [name, item] of Object.entries(state.items)) {
      if (name !== "image") item.setOpacity(opacityOf(name));
    }
    draw();
  }

  function toggle(name) {
    if (!state.shown.delete(name)) state.shown.add(name);
    drawControls();
    showLayers();
    keepAddress();
  }

  function listLayers() {
    const image = state.image;
    if (!image) return [];
    return LAYERS.filter((layer) => image.layers[layer.name] || image.outlines.includes(layer.name) ||
      (layer.name === "tiles" && image.tiles));
  }

  function drawControls() {
    element("layers").replaceChildren(...listLayers().map(function (layer, number) {
      const label = document.createElement("label");
      const box = document.createElement("input");
      box.type = "checkbox";
      box.name = layer.name;
      box.checked = state.shown.has(layer.name);
      box.onchange = () => toggle(layer.name);
      const swatch = document.createElement("span");
      const colour = epsam.LINE_COLOURS[layer.name] || state.palettes[layer.name][200];
      swatch.style.background = "rgb(" + colour.join(",") + ")";
      label.append(box, " ", swatch, number + 1 + " " + layer.title);
      return label;
    }));
    element("opacity").value = state.opacity;
    setThreshold(state.threshold);
  }

  // Where the slide lies on the screen: zoom and the place of its upper left corner, px.
  function measure() {
    const width0 = state.image.layers.image.span;
    const corner = viewer.viewport.pixelFromPoint(new OpenSeadragon.Point(0, 0), true);
    const right = viewer.viewport.pixelFromPoint(new OpenSeadragon.Point(1, 0), true);
    return { zoom: (right.x - corner.x) / width0, left: corner.x, top: corner.y };
  }

  function goTo(place) {
    if (!place || place.x === null || place.y === null || !(place.zoom > 0)) {
      viewer.viewport.goHome(true);
      return;
    }
    const width0 = state.image.layers.image.span;
    const width = viewer.container.clientWidth / place.zoom / width0;
    const height = viewer.container.clientHeight / place.zoom / width0;
    const x = place.x / width0, y = place.y / width0;
    viewer.viewport.fitBounds(new OpenSeadragon.Rect(x - width / 2, y - height / 2, width, height), true);
  }

  function draw() {
    if (!state.image || !viewer.world.getItemCount()) return;
    const view = measure();
    epsam.drawScale(element("scale"), view.zoom, state.image.mpp);

    const canvas = element("overlay"), ratio = window.devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    // A new size clears it, too.
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const context = canvas.getContext("2d");
    for (const kind of state.image.outlines) {
      if (!state.shown.has(kind)) continue;
      const loaded = state.outlines[kind];
      if (!loaded || !epsam.covers(loaded, view, width, height)) askForOutlines(kind);
      // Until finer ones come, those that are there.
      if (loaded) epsam.strokePath(context, loaded.path, view, epsam.LINE_COLOURS[kind]);
    }
    if (state.shown.has("tiles") && state.image.tiles) {
      if (state.tiles) epsam.strokeTiles(context, state.tiles, view);
      else askForTiles();
    }
  }

  // A page on a disk replaces this.
  epsam.loadOutlines = async function (index, kind, request) {
    const path = "outlines/" + index + "/" + kind + ".bin?box=" + request.box.join(",") + "&detail=" + request.detail;
    const answer = await fetch(path);
    if (!answer.ok) throw new Error(await answer.text());
    return answer.arrayBuffer();
  };

  const pending = new Set();

  async function askForOutlines(kind) {
    if (pending.has(kind)) return;
    pending.add(kind);
    const index = state.index;
    try {
      // Not for each step of a movement.
      await new Promise((done) => setTimeout(done, 120));
      const request = epsam.outlineRequest(measure(), viewer.container.clientWidth, viewer.container.clientHeight);
      const bytes = await epsam.loadOutlines(index, kind, request);
      if (index === state.index) {
        const path = epsam.unpackOutlines(bytes, Math.pow(2, request.detail));
        state.outlines[kind] = { box: request.box, detail: request.detail, path: path };
      }
    } catch (error) {
      say("outlines cannot be read: " + error.message);
      // Not again and again, until somebody switches them on.
      state.shown.delete(kind);
      drawControls();
    }
    pending.delete(kind);
    draw();
  }

  function askForTiles() {
    if (pending.has("tiles")) return;
    pending.add("tiles");
    epsam.loadScript("tables/" + state.index + ".js", function () {
      say("the table of tiles cannot be read");
      state.shown.delete("tiles");
      drawControls();
    }, () => pending.delete("tiles"));
  }

  function askForUncertainty() {
    if (state.images.length) epsam.loadScript("uncertainty.js", () => say("the server has ended"));
  }

  function keepAddress() {
    if (!state.image || !viewer.world.getItemCount()) return;
    const view = measure();
    const hash = epsam.formatAddress({
      name: state.image.name,
      x: (viewer.container.clientWidth / 2 - view.left) / view.zoom,
      y: (viewer.container.clientHeight / 2 - view.top) / view.zoom,
      zoom: view.zoom,
      threshold: state.threshold,
      opacity: state.opacity,
      layers: [...state.shown],
    });
    history.replaceState(null, "", hash);
  }

  function followAddress() {
    const address = epsam.readAddress(location.hash);
    if (address.layers) state.shown = new Set(address.layers);
    if (address.opacity !== null) state.opacity = Math.min(Math.max(address.opacity, 0), 1);
    if (address.threshold !== null) state.threshold = Math.min(Math.max(address.threshold, 0), 1);
    const index = state.images.findIndex((image) => image.name === address.name);
    if (index < 0 && address.name) say("no image " + address.name + " in this folder");
    choose(index < 0 ? state.order[0] : index, index < 0 ? null : address);
  }

  function say(message) {
    element("message").textContent = message;
    element("message").hidden = !message;
  }

  viewer.addHandler("update-viewport", draw);
  viewer.addHandler("animation-finish", keepAddress);
  viewer.addHandler("tile-load-failed", function (event) {
    // A tile that has left the screen is given up, which is no failure.
    if (!/abort/i.test(event.message)) say("a tile cannot be read: " + event.message);
  });
  // n and p are for the list; turning and flipping are not for slides with lines on them.
  viewer.addHandler("canvas-key", (event) => { event.preventDefaultAction = /^[rfnp1-7]$/i.test(event.originalEvent.key); });
  window.addEventListener("hashchange", followAddress);
  document.addEventListener("keydown", function (event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const step = { n: 1, p: -1 }[event.key];
    if (step) choose(epsam.neighbour(state.order, state.index, step));
    const layer = listLayers()[Number(event.key) - 1];
    if (layer) toggle(layer.name);
  });
  element("threshold").oninput = (event) => setThreshold(Number(event.target.value));
  element("threshold").onchange = keepAddress;
  element("opacity").oninput = function (event) {
    state.opacity = Number(event.target.value);
    showLayers();
  };
  element("opacity").onchange = keepAddress;
  element("controls").onsubmit = () => false;
})();
