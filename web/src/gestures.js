// SPDX-License-Identifier: Apache-2.0
// gestures.js: wheel, mouse and fingers on a viewer.  The left button, or one finger, does what the tool
// says; the wheel moves through the slices; with Ctrl, or two fingers, it zooms; the middle button pans;
// the right button sets the window whatever the tool is.

import { announce } from "./dom.js";
import { mm } from "./format.js";
import { distanceMm } from "./geometry.js";

const SCROLL_PX = 9; // a drag of so many pixels is a slice

const local = (viewer, event) => {
  const box = viewer.element.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};

function move(viewer, by) {
  const to = Math.min(viewer.volume.Slices - 1, Math.max(0, viewer.slice + by));
  if (to !== viewer.slice) viewer.on.slice(to);
}

/** Each tool: begin(viewer, point) -> {move(point), end()}. */
const TOOLS = {
  scroll(viewer, from) {
    const first = viewer.slice;
    return {
      move: (p) => move(viewer, first + Math.round((p[1] - from[1]) / SCROLL_PX) - viewer.slice),
    };
  },

  window(viewer, from) {
    const { centre, width } = viewer.shownWindow;
    const step = Math.max(width / 400, 0.001);
    return {
      move(p) {
        viewer.on.window({
          centre: Number((centre - step * (p[1] - from[1])).toPrecision(6)),
          width: Number(Math.max(step, width + 2 * step * (p[0] - from[0])).toPrecision(6)),
        });
      },
    };
  },

  measure(viewer, from) {
    const ruler = {
      slice: viewer.slice,
      from: viewer.fractionsAt(from),
      to: viewer.fractionsAt(from),
    };
    viewer.rulers.push(ruler);
    return {
      move(p) {
        ruler.to = viewer.fractionsAt(p);
        viewer.draw();
      },
      end(p) {
        announce(`${viewer.name}: ${mm(distanceMm(viewer.extent, ruler.from, ruler.to))}`);
        if (Math.hypot(p[0] - from[0], p[1] - from[1]) < 4)
          viewer.rulers = viewer.rulers.filter((r) => r !== ruler && r.slice !== ruler.slice);
        viewer.draw();
      },
    };
  },

  box(viewer, from) {
    const a = viewer.fractionsAt(from);
    return {
      move(p) {
        viewer.drafted = [a, viewer.fractionsAt(p)];
        viewer.draw();
      },
      end(p) {
        viewer.drafted = null;
        if (Math.hypot(p[0] - from[0], p[1] - from[1]) >= 6)
          viewer.finishBox(a, viewer.fractionsAt(p));
        viewer.draw();
      },
    };
  },

  pan(viewer, from) {
    const pan = [...viewer.pan];
    return {
      move(p) {
        viewer.pan = [pan[0] + p[0] - from[0], pan[1] + p[1] - from[1]];
        viewer.draw();
      },
    };
  },
};

/** Two fingers: zoom about their middle. */
function pinch(viewer, fingers) {
  const [a, b] = [...fingers.values()];
  const middle = [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
  const apart = Math.hypot(a[0] - b[0], a[1] - b[1]);
  if (viewer.apart) viewer.zoomAt(apart / viewer.apart, middle);
  viewer.apart = apart;
}

function wheel(viewer, event) {
  event.preventDefault();
  if (event.ctrlKey || event.metaKey) {
    viewer.zoomAt(Math.exp(-event.deltaY / 300), local(viewer, event));
    return;
  }
  // A notch of a wheel is one slice; a touchpad gives many small steps that add up to some.
  viewer.wheeled = (viewer.wheeled ?? 0) + event.deltaY * (event.deltaMode === 1 ? 40 : 1);
  const slices = Math.trunc(viewer.wheeled / 40);
  if (slices === 0) return;
  viewer.wheeled = 0;
  move(viewer, Math.abs(event.deltaY) >= 80 ? Math.sign(slices) : slices);
}

export function pointers(viewer) {
  const { element } = viewer;
  const fingers = new Map();
  let active = null;

  element.addEventListener("wheel", (event) => viewer.volume && wheel(viewer, event), {
    passive: false,
  });
  element.addEventListener("contextmenu", (event) => event.preventDefault());
  element.addEventListener("dblclick", () => viewer.resetView());
  element.addEventListener("pointerdown", (event) => {
    if (!viewer.volume) return;
    element.setPointerCapture(event.pointerId);
    element.focus({ preventScroll: true });
    fingers.set(event.pointerId, local(viewer, event));
    viewer.apart = 0;
    const tool = { 1: "pan", 2: "window" }[event.button] ?? viewer.tool;
    active = fingers.size === 1 ? TOOLS[tool](viewer, local(viewer, event)) : null;
    event.preventDefault();
  });
  element.addEventListener("pointermove", (event) => {
    if (!fingers.has(event.pointerId)) return;
    fingers.set(event.pointerId, local(viewer, event));
    if (fingers.size === 2) pinch(viewer, fingers);
    else active?.move(local(viewer, event));
  });
  for (const name of ["pointerup", "pointercancel"])
    element.addEventListener(name, (event) => {
      if (!fingers.delete(event.pointerId)) return;
      active?.end?.(local(viewer, event));
      active = null;
    });
}
