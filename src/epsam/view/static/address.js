// The part of the address after # keeps what is shown, so that a link shows somebody else the same place.
"use strict";

// x, y: centre in pixels of level 0; zoom: pixels of the screen that one of them takes.
epsam.readAddress = function (hash) {
  const values = new URLSearchParams(hash.replace(/^#/, ""));
  const number = function (name) {
    const value = parseFloat(values.get(name));
    return Number.isFinite(value) ? value : null;
  };
  return {
    name: values.get("image"),
    x: number("x"),
    y: number("y"),
    zoom: number("zoom"),
    threshold: number("threshold"),
    opacity: number("opacity"),
    layers: values.has("layers") ? values.get("layers").split(",").filter(Boolean) : null,
  };
};

epsam.formatAddress = function (view) {
  const values = new URLSearchParams({
    image: view.name,
    x: view.x.toFixed(1),
    y: view.y.toFixed(1),
    zoom: view.zoom.toPrecision(4),
    threshold: String(view.threshold),
    opacity: String(view.opacity),
    layers: view.layers.join(","),
  });
  return "#" + values.toString();
};
