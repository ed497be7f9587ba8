// SPDX-License-Identifier: Apache-2.0
// icons.js: the page's few pictograms, drawn as text is: in its colour, at its size.

import { svg } from "./dom.js";

const THUMB =
  "M5 7v6H2V7zM5 7l3-5c1.1 0 1.7.7 1.5 1.8L9.1 6h4c.7 0 1.2.6 1 1.3l-1.1 4.9c-.1.5-.5.8-1 .8H5";
const ICONS = {
  scroll: "M8 2v12M8 2 5 5M8 2l3 3M8 14l-3-3M8 14l3-3",
  window: "M8 2a6 6 0 1 0 0 12zM8 2a6 6 0 0 1 0 12",
  measure: "M2 11 11 2l3 3-9 9zM5 8l2 2M7 6l1.5 1.5M9 4l2 2",
  box: "M3 3h10v10H3z",
  linked:
    "M6.5 9.5a2.5 2.5 0 0 0 3.5 0l2.6-2.6a2.5 2.5 0 0 0-3.5-3.5L8 4.5M9.5 6.5a2.5 2.5 0 0 0-3.5 0L3.4 9.1a2.5 2.5 0 0 0 3.5 3.5L8 11.5",
  solid: "M8 1.5 14 5v6l-6 3.5L2 11V5zM2 5l6 3.5L14 5M8 8.5V14.5",
  yes: THUMB,
  no: THUMB,
};

export function icon(name) {
  return svg(
    "svg",
    { viewBox: "0 0 16 16", class: `icon ${name}`, "aria-hidden": "true" },
    svg("path", {
      d: ICONS[name],
      fill: "none",
      stroke: "currentColor",
      "stroke-width": 1.4,
      "stroke-linejoin": "round",
      "stroke-linecap": "round",
    }),
  );
}
