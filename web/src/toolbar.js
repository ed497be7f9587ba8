// SPDX-License-Identifier: Apache-2.0
// toolbar.js: what the left button does, the window, linking and 3-D; above the viewers.

import { h, button } from "./dom.js";
import { icon } from "./icons.js";

const TOOLS = [
  ["scroll", "Scroll", "V", "Drag up and down: move through the slices"],
  ["window", "Window", "W", "Drag: sideways the width, up and down the centre"],
  [
    "measure",
    "Measure",
    "M",
    "Drag: a distance in millimetres; a click removes those of the slice",
  ],
  ["box", "Box", "B", "Drag on the query: search with this part of its slices only"],
];

export class Toolbar {
  /** on: {tool(name), window(w), linked(), solid()}; windows: as /system gives them. */
  constructor(windows, on) {
    this.windows = windows;
    this.tools = TOOLS.map(([name, text, key, title]) => {
      const b = button([icon(name), text], () => on.tool(name), {
        "aria-pressed": "false",
        title: `${title} (${key})`,
        "data-tool": name,
      });
      return b;
    });
    this.presets = [
      button("Default", () => on.window(null), {
        title: "The volume's own window (0)",
        "aria-pressed": "false",
      }),
      ...windows.map((w, i) =>
        button(w.Name, () => on.window({ centre: w.Centre, width: w.Width }), {
          title: `Centre ${w.Centre}, width ${w.Width} (${i + 1})`,
          "aria-pressed": "false",
        }),
      ),
    ];
    this.linked = button([icon("linked"), "Linked"], on.linked, {
      title: "Moving in one moves the other to the slice that matched (L)",
      "aria-pressed": "true",
    });
    this.solid = button([icon("solid"), "3-D"], on.solid, {
      title: "Three planes and a rendering (D)",
      "aria-pressed": "false",
    });
    this.element = h(
      "div",
      { class: "toolbar", role: "toolbar", "aria-label": "Viewing" },
      h("div", { class: "segments", role: "group", "aria-label": "Tool" }, this.tools),
      h("div", { class: "segments presets", role: "group", "aria-label": "Window" }, this.presets),
      h("div", { class: "segments", role: "group", "aria-label": "Both" }, this.linked, this.solid),
    );
  }

  show({ tool, window, linked, solid, open }) {
    for (const b of this.tools) b.setAttribute("aria-pressed", b.dataset.tool === tool);
    const chosen = window
      ? this.windows.findIndex((w) => w.Centre === window.centre && w.Width === window.width) + 1
      : 0;
    this.presets.forEach((b, i) =>
      b.setAttribute("aria-pressed", window && chosen === 0 ? false : i === chosen),
    );
    this.linked.setAttribute("aria-pressed", linked);
    this.linked.disabled = !open;
    this.solid.setAttribute("aria-pressed", solid);
  }
}
