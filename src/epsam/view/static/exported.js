// On a page from a disk: tiles and outlines are in images/<number>.js, as no other file may be read there.
"use strict";

(function () {
  let data = { tiles: {}, outlines: {} };
  const fromServer = epsam.tileAddress;

  // Called by images/<number>.js before epsam.setImage.
  epsam.setExported = function (exported) {
    data = exported;
  };

  epsam.tileAddress = function (index, name, level, x, y, suffix) {
    if (name === "image") return fromServer(index, name, level, x, y, suffix);
    return "data:image/png;base64," + data.tiles[[name, level, x + "_" + y].join("/")];
  };

  epsam.loadOutlines = async function (index, kind) {
    return Uint8Array.from(atob(data.outlines[kind]), (character) => character.charCodeAt(0)).buffer;
  };
})();
