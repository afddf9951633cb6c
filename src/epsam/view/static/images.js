// The list of images: its order, and which one is open.
"use strict";

epsam.COLUMNS = [
  { key: "name", title: "name", digits: null },
  { key: "uncertainty", title: "uncertainty", digits: 3 },
  { key: "tumour_mm2", title: "tumour mm²", digits: 3 },
  // Images have no size in mm.
  { key: "tumour_fraction", title: "tumour", digits: 3, unless: "tumour_mm2" },
  { key: "dice", title: "Dice", digits: 3 },
];

// Indices of the images in an order. Where a value is missing, an image comes last.
epsam.sortImages = function (images, key, descending) {
  const order = images.map((_, index) => index);
  order.sort(function (a, b) {
    const x = images[a][key], y = images[b][key];
    if (x === null || y === null) return (x === null) - (y === null) || a - b;
    const sign = x < y ? -1 : x > y ? 1 : 0;
    return (descending ? -sign : sign) || a - b;
  });
  return order;
};

epsam.formatCell = function (value, column) {
  if (value === null || value === undefined) return "–";
  return column.digits === null ? String(value) : value.toFixed(column.digits);
};

// Draw the list. `choose` is called with the index of an image, `sort` with the key of a column.
epsam.drawList = function (state, choose, sort) {
  const isFilled = (key) => state.images.some((image) => image[key] !== null);
  const columns = epsam.COLUMNS.filter(function (column) {
    return column.digits === null || (isFilled(column.key) && !(column.unless && isFilled(column.unless)));
  });
  const head = document.querySelector("#list thead tr");
  head.replaceChildren(...columns.map(function (column) {
    const cell = document.createElement("th");
    const button = document.createElement("button");
    const arrow = column.key === state.sortKey ? (state.descending ? " ↓" : " ↑") : "";
    button.textContent = column.title + arrow;
    button.dataset.key = column.key;
    button.onclick = () => sort(column.key);
    cell.append(button);
    return cell;
  }));

  const body = document.querySelector("#list tbody");
  body.replaceChildren(...state.order.map(function (index) {
    const row = document.createElement("tr");
    row.dataset.index = index;
    row.onclick = () => choose(index);
    for (const column of columns) {
      const cell = document.createElement("td");
      cell.textContent = epsam.formatCell(state.images[index][column.key], column);
      row.append(cell);
    }
    return row;
  }));
};

epsam.markRow = function (index) {
  for (const row of document.querySelectorAll("#list tbody tr")) {
    if (Number(row.dataset.index) === index) {
      row.setAttribute("aria-current", "true");
      row.scrollIntoView({ block: "nearest" });
    } else {
      row.removeAttribute("aria-current");
    }
  }
};

// The index `step` places after an image in the order of the list, at its ends the last or first.
epsam.neighbour = function (order, index, step) {
  const place = order.indexOf(index) + step;
  return order[Math.min(Math.max(place, 0), order.length - 1)];
};

// Load a script that calls a function of the page. A script, as a page on a disk may not read other files.
epsam.loadScript = function (path, failed, ended = () => {}) {
  const script = document.createElement("script");
  script.src = path;
  script.onload = function () {
    script.remove();
    ended();
  };
  script.onerror = function () {
    script.remove();
    failed();
    ended();
  };
  document.head.append(script);
};
