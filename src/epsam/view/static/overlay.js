// What is drawn over the slide in lines, and the scale bar.
"use strict";

// A length of 1, 2 or 5 times a power of ten that takes at most `most` px, at so many px a µm.
epsam.roundLength = function (pxPerUm, most) {
  const limit = most / pxPerUm;
  const power = Math.pow(10, Math.floor(Math.log10(limit)));
  const factor = [5, 2, 1].find((candidate) => candidate * power <= limit);
  return factor * power;
};

epsam.formatLength = function (um) {
  return um >= 1000 ? um / 1000 + " mm" : parseFloat(um.toPrecision(1)) + " µm";
};

// zoom: pixels of the screen for a pixel of level 0; mpp: its size in µm, 0 if unknown.
epsam.drawScale = function (element, zoom, mpp) {
  element.hidden = !(mpp > 0 && zoom > 0);
  if (element.hidden) return;
  const um = epsam.roundLength(zoom / mpp, 200);
  element.style.width = (um / mpp) * zoom + "px";
  element.firstElementChild.textContent = epsam.formatLength(um);
};

// From the bytes of outlines/…: rings as one path in pixels of level 0. A ring of one point is a dot of `pixel`.
epsam.unpackOutlines = function (bytes, pixel) {
  const count = new Int32Array(bytes, 0, 1)[0];
  const lengths = new Int32Array(bytes, 4, count);
  const points = new Float32Array(bytes, 4 + 4 * count);
  const path = new Path2D();
  let at = 0;
  for (const length of lengths) {
    if (length === 1) path.rect(points[at], points[at + 1], pixel, pixel);
    for (let i = 0; i < length && length > 1; i++) {
      const x = points[at + 2 * i], y = points[at + 2 * i + 1];
      if (i) path.lineTo(x, y);
      else path.moveTo(x, y);
    }
    if (length > 1) path.closePath();
    at += 2 * length;
  }
  return path;
};

// What a view of the slide needs: the box that is seen with a margin, in pixels of level 0, and how many of them,
// as a power of two, a pixel of the screen spans.
epsam.outlineRequest = function (view, width, height) {
  const left = -view.left / view.zoom, top = -view.top / view.zoom;
  const across = width / view.zoom, down = height / view.zoom;
  const box = [left - across / 4, top - down / 4, left + 1.25 * across, top + 1.25 * down].map(Math.round);
  return { box: box, detail: Math.max(0, Math.floor(Math.log2(1 / view.zoom))) };
};

// Whether outlines that were loaded for one request do for another: they reach as far, at the same detail.
epsam.covers = function (loaded, view, width, height) {
  const needed = epsam.outlineRequest(view, width, height);
  const [left, top] = [-view.left / view.zoom, -view.top / view.zoom];
  return loaded.detail === needed.detail && loaded.box[0] <= left && loaded.box[1] <= top &&
    loaded.box[2] >= left + width / view.zoom && loaded.box[3] >= top + height / view.zoom;
};

epsam.strokePath = function (context, path, view, colour) {
  const ratio = window.devicePixelRatio || 1;
  context.setTransform(ratio * view.zoom, 0, 0, ratio * view.zoom, ratio * view.left, ratio * view.top);
  context.lineWidth = 2 / view.zoom;
  context.lineJoin = "round";
  context.strokeStyle = "rgb(" + colour.join(",") + ")";
  context.stroke(path);
};

// The tiles of the inference: those that the gate held back thin and grey, the others dark.
epsam.strokeTiles = function (context, tiles, view) {
  const ratio = window.devicePixelRatio || 1;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  const side = tiles.side * view.zoom;
  const width = context.canvas.width / ratio, height = context.canvas.height / ratio;
  for (const gated of [1, 0]) {
    context.strokeStyle = gated ? "rgba(120,120,120,.7)" : "rgba(0,0,0,.9)";
    context.lineWidth = gated ? 0.5 : 1.2;
    context.beginPath();
    for (let i = 0; i < tiles.x.length; i++) {
      const left = view.left + tiles.x[i] * view.zoom, top = view.top + tiles.y[i] * view.zoom;
      if (tiles.gated[i] !== gated || left > width || top > height || left + side < 0 || top + side < 0) continue;
      context.rect(left, top, side, side);
    }
    context.stroke();
  }
};
