// SPDX-License-Identifier: Apache-2.0
// caselayout.js: where the parts of a case stand: toolbar above, query and hit beside each other, the
// question and its answer on the right.

import { h, button } from "./dom.js";

function hitHeader(screen, title) {
  return h(
    "header",
    {},
    title,
    screen.relevance.element,
    h(
      "div",
      { class: "segments" },
      button("‹", () => screen.nextHit(-1), {
        "aria-label": "Previous hit",
        title: "Previous hit (P)",
      }),
      button("›", () => screen.nextHit(1), { "aria-label": "Next hit", title: "Next hit (N)" }),
    ),
    button("✕", () => screen.closeHit(), {
      class: "quiet icon",
      "aria-label": "Close the hit",
      title: "Close the hit (Esc)",
    }),
  );
}

/** Of a CaseScreen whose parts are made; the elements that it changes. */
export function layCase(screen) {
  const queryTitle = h("div", { class: "title" });
  const hitTitle = h("div", { class: "title" });
  const pairText = h("p", { class: "pair" });
  const queryStage = h("div", { class: "stage" }, screen.queryViewer.element);
  const hitStage = h("div", { class: "stage" }, screen.hitViewer.element);
  const hitPane = h(
    "section",
    { class: "pane hit", "aria-label": "Hit", hidden: true },
    hitHeader(screen, hitTitle),
    hitStage,
    screen.hitStrip.element,
    pairText,
  );
  const queryPane = h(
    "section",
    { class: "pane query", "aria-label": "Query" },
    h("header", {}, queryTitle),
    queryStage,
    screen.queryStrip.element,
    screen.selection.element,
  );
  const element = h(
    "main",
    { class: "case", id: "main", tabindex: -1 },
    screen.toolbar.element,
    queryPane,
    hitPane,
    screen.side.element,
  );
  return { element, queryTitle, hitTitle, pairText, queryStage, hitStage, hitPane };
}
