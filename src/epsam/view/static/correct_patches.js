// Corrections on the page of a run: a patch in full size, in a window of its own.
"use strict";

(function () {
  const dialog = document.getElementById("correction");
  const picture = document.getElementById("large");
  const message = document.getElementById("message");

  // Pixels of the screen for a pixel of the patch.
  function scale() {
    const patch = epsam.gallery.patches[editor.state.number];
    return patch ? picture.clientWidth / patch.width : 1;
  }

  const editor = epsam.makeEditor({
    canvas: document.getElementById("drawing"),
    toolbar: document.getElementById("tools"),
    toImage: (x, y) => [x / scale(), y / scale()],
    toScreen: (x, y) => [x * scale(), y * scale()],
    say: function (text) {
      message.textContent = text;
      message.hidden = !text;
    },
  });
  epsam.editor = editor;

  epsam.correct = function (index) {
    const patch = epsam.gallery.patches[index];
    document.getElementById("corrected-name").textContent = patch.split + " " + patch.name;
    picture.onload = editor.draw;
    picture.src = "pictures/" + index + "/large.jpg";
    message.hidden = true;
    if (!dialog.open) dialog.showModal();
    editor.load(index);
  };

  document.getElementById("close").onclick = () => dialog.close();
  dialog.onclose = () => { editor.state.number = -1; };
  document.addEventListener("keydown", function (event) {
    const index = epsam.gallery.index;
    if (event.key === "c" && !dialog.open && index >= 0 && epsam.canCorrect(index)) epsam.correct(index);
  });
})();
