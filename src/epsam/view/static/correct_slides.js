// Corrections on the page of slides and images: the canvas lies over the viewer.
"use strict";

(function () {
  const canvas = document.getElementById("drawing");

  function width0() {
    return epsam.state.image ? epsam.state.image.layers.image.span : 1;
  }

  const editor = epsam.makeEditor({
    canvas: canvas,
    toolbar: document.getElementById("tools"),
    toImage: function (x, y) {
      const point = epsam.viewer.viewport.pointFromPixel(new OpenSeadragon.Point(x, y), true);
      return [point.x * width0(), point.y * width0()];
    },
    toScreen: function (x, y) {
      const point = new OpenSeadragon.Point(x / width0(), y / width0());
      const pixel = epsam.viewer.viewport.pixelFromPoint(point, true);
      return [pixel.x, pixel.y];
    },
    say: function (message) {
      const element = document.getElementById("message");
      element.textContent = message;
      element.hidden = !message;
    },
  });
  epsam.editor = editor;

  const setImage = epsam.setImage;
  epsam.setImage = function (number, image) {
    setImage(number, image);
    if (number === epsam.state.index) editor.load(number);
  };
  epsam.viewer.addHandler("update-viewport", editor.draw);

  // The canvas takes the pointer while something is drawn: the wheel still zooms.
  canvas.addEventListener("wheel", function (event) {
    event.preventDefault();
    const box = canvas.getBoundingClientRect();
    const at = new OpenSeadragon.Point(event.clientX - box.left, event.clientY - box.top);
    const factor = event.deltaY < 0 ? 1.2 : 1 / 1.2;
    epsam.viewer.viewport.zoomBy(factor, epsam.viewer.viewport.pointFromPixel(at, true));
    epsam.viewer.viewport.applyConstraints();
  }, { passive: false });
})();
