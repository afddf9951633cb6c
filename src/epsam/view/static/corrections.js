// Drawing corrections over an image: polygons of tumour, of no tumour, of what was reviewed; regions
// of the model accepted or rejected. The page says where the image lies on the screen.
"use strict";

(function () {
  const TOOLS = [
    { action: "tumour", title: "tumour", key: "t", hint: "draw round a tumour" },
    { action: "normal", title: "no tumour", key: "x", hint: "draw round what is to be cut or erased" },
    { action: "reviewed", title: "reviewed", key: "r", hint: "draw round what you have looked at: what you leave undrawn in it is no tumour" },
    { action: "accept", title: "accept", key: "a", hint: "click on a region of the model that is right" },
    { action: "reject", title: "reject", key: "e", hint: "click on a region of the model that is wrong" },
  ];
  const COLOURS = { tumour: "0, 158, 115", hole: "213, 94, 0", reviewed: "86, 180, 233" };
  // Nearer to the first corner than this, px of the screen, a click closes the polygon.
  const CLOSE_PX = 8;

  // The editor of a page. place: {canvas, toolbar, toImage(x, y), toScreen(x, y), say(message)}.
  epsam.makeEditor = function (place) {
    const state = { number: -1, revision: null, edits: [], tool: null, corners: [], pointer: null, isPressed: false };
    const context = place.canvas.getContext("2d");

    // Called by corrections/<number>.js.
    epsam.setCorrections = function (number, corrections) {
      if (number !== state.number) return;
      Object.assign(state, corrections);
      draw();
    };

    function load(number) {
      Object.assign(state, { number: number, revision: null, edits: [], corners: [] });
      draw();
      epsam.loadScript("corrections/" + number + ".js", () => place.say("the corrections cannot be read; see where view.sh runs"));
    }

    async function send(content) {
      if (state.revision === null) return;
      const number = state.number;
      const token = location.pathname.split("/")[1];
      try {
        const answer = await fetch("corrections/" + number, {
          method: "POST",
          headers: { "X-EPSAM-Token": token, "Content-Type": "application/json" },
          body: JSON.stringify(Object.assign({ revision: state.revision }, content)),
        });
        if (!answer.ok) {
          place.say(await answer.text());
          if (answer.status === 409) load(number);
          return;
        }
        place.say("");
        epsam.setCorrections(number, await answer.json());
      } catch (error) {
        place.say("not saved: " + error.message);
      }
    }

    function finish() {
      const corners = state.corners;
      state.corners = [];
      if (corners.length >= 3 && state.tool) send({ action: state.tool, corners: corners });
      draw();
    }

    function choose(action) {
      state.tool = state.tool === action ? null : action;
      state.corners = [];
      place.canvas.style.pointerEvents = state.tool ? "auto" : "none";
      for (const button of place.toolbar.querySelectorAll("button")) {
        button.setAttribute("aria-pressed", String(button.name === state.tool));
      }
      draw();
    }

    function where(event) {
      const box = place.canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    }

    function isClick(x, y) {
      return Math.hypot(x - state.pointer[0], y - state.pointer[1]) < 4;
    }

    place.canvas.onpointerdown = function (event) {
      if (!state.tool || event.button !== 0) return;
      const at = where(event);
      Object.assign(state, { pointer: at, isPressed: true });
      place.canvas.setPointerCapture(event.pointerId);
      if (state.tool === "accept" || state.tool === "reject") return;
      if (state.corners.length >= 3) {
        const first = place.toScreen(...state.corners[0]);
        if (Math.hypot(at[0] - first[0], at[1] - first[1]) < CLOSE_PX) {
          state.isPressed = false;
          finish();
          return;
        }
      }
      state.corners.push(place.toImage(...at));
      draw();
    };

    place.canvas.onpointermove = function (event) {
      if (!state.isPressed || state.tool === "accept" || state.tool === "reject") return;
      const at = where(event);
      const last = place.toScreen(...state.corners[state.corners.length - 1]);
      // A line drawn by hand has a corner every few pixels.
      if (Math.hypot(at[0] - last[0], at[1] - last[1]) < 4) return;
      state.corners.push(place.toImage(...at));
      draw();
    };

    place.canvas.onpointerup = function (event) {
      if (!state.isPressed) return;
      state.isPressed = false;
      const at = where(event);
      if (state.tool === "accept" || state.tool === "reject") {
        send({ action: state.tool, point: place.toImage(...at) });
      } else if (!isClick(...at)) {
        // Drawn with the button held down: the line closes where it is let go.
        finish();
      }
    };

    place.canvas.ondblclick = finish;

    function trace(corners, isClosed) {
      context.beginPath();
      for (const corner of corners) context.lineTo(...place.toScreen(...corner));
      if (isClosed) context.closePath();
    }

    function draw() {
      const ratio = window.devicePixelRatio || 1;
      // A new size clears it, too.
      place.canvas.width = Math.round(place.canvas.clientWidth * ratio);
      place.canvas.height = Math.round(place.canvas.clientHeight * ratio);
      context.scale(ratio, ratio);
      context.lineWidth = 2;
      for (const edit of state.edits) {
        const colour = COLOURS[edit.meaning];
        trace(edit.corners, true);
        context.setLineDash(edit.meaning === "reviewed" ? [6, 4] : []);
        context.fillStyle = "rgba(" + colour + ", " + (edit.meaning === "reviewed" ? 0.08 : 0.35) + ")";
        context.strokeStyle = "rgb(" + colour + ")";
        context.fill("evenodd");
        context.stroke();
      }
      context.setLineDash([]);
      if (state.corners.length) {
        trace(state.corners, false);
        context.strokeStyle = "#000";
        context.stroke();
      }
    }

    function addButton(title, action, hint, press) {
      const button = document.createElement("button");
      button.type = "button";
      button.name = action;
      button.title = hint;
      button.textContent = title;
      button.onclick = press;
      place.toolbar.append(button, " ");
    }

    for (const tool of TOOLS) {
      addButton(tool.title + " (" + tool.key + ")", tool.action, tool.hint, () => choose(tool.action));
    }
    addButton("undo (u)", "undo", "take the last correction back", () => send({ action: "undo" }));

    document.addEventListener("keydown", function (event) {
      if (event.ctrlKey || event.altKey || event.metaKey || state.number < 0) return;
      const tool = TOOLS.find((item) => item.key === event.key);
      if (tool) choose(tool.action);
      else if (event.key === "u") send({ action: "undo" });
      else if (event.key === "Enter") finish();
      else if (event.key === "Escape") {
        state.corners = [];
        draw();
      }
    });

    window.addEventListener("resize", draw);
    return { load: load, draw: draw, choose: choose, state: state };
  };
})();
