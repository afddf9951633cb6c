// From grey values of tiles to colours. All scripts of the page share one name: epsam.
"use strict";

var epsam = {};

// After Okabe and Ito: told apart on pink and purple, also by the colour-blind.
epsam.LINE_COLOURS = {
  mask: [0, 90, 200], ground_truth: [0, 158, 115],
  tumour: [0, 90, 200], annotations: [0, 158, 115], tiles: [0, 0, 0] };

// {layer: Uint8ClampedArray of 256 × RGBA}. Probabilities below the threshold are clear.
epsam.colourTables = function (palettes, threshold) {
  const clearBelow = { probability: Math.max(1, Math.ceil(threshold * 255 - 1e-6)), uncertainty: 13 };
  const tables = {};
  for (const layer of Object.keys(palettes)) {
    const table = new Uint8ClampedArray(256 * 4);
    for (let value = clearBelow[layer]; value < 256; value++) {
      table.set(palettes[layer][value], value * 4);
      table[value * 4 + 3] = 255;
    }
    tables[layer] = table;
  }
  for (const layer of ["mask", "ground_truth"]) {
    const table = new Uint8ClampedArray(256 * 4);
    for (let value = 128; value < 256; value++) {
      table.set(epsam.LINE_COLOURS[layer], value * 4);
      table[value * 4 + 3] = 255;
    }
    tables[layer] = table;
  }
  return tables;
};

// Replace the grey pixels of a canvas by their colours.
epsam.colourCanvas = function (context, table) {
  const image = context.getImageData(0, 0, context.canvas.width, context.canvas.height);
  const pixels = image.data;
  for (let i = 0; i < pixels.length; i += 4) {
    const at = pixels[i] * 4;
    pixels[i] = table[at];
    pixels[i + 1] = table[at + 1];
    pixels[i + 2] = table[at + 2];
    pixels[i + 3] = table[at + 3];
  }
  context.putImageData(image, 0, 0);
};
