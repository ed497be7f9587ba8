// SPDX-License-Identifier: Apache-2.0
// options.js: how is searched: the button, and behind a disclosure all that has a sensible default.

import { h, button, field, select } from "./dom.js";
import { Filter } from "./filter.js";
import { DEFAULTS } from "./view.js";

export class Options {
  /** on: {change(options), search()}. */
  constructor(scores, limits, labels, on) {
    const number = (name, min, max) =>
      h("input", {
        type: "number",
        min,
        max,
        inputmode: "numeric",
        onchange: (e) =>
          e.target.checkValidity() &&
          e.target.value &&
          on.change({ [name]: Number(e.target.value) }),
      });
    const choice = (name, options) =>
      select(options, DEFAULTS[name], (value) => on.change({ [name]: value }));
    const values = labels.flatMap(({ Name, Values }) => [
      [Name, Name],
      ...(Values.length <= 6 ? Values.map((v) => [`${Name}=${v}`, `${Name} = ${v}`]) : []),
    ]);
    this.controls = {
      score: choice(
        "score",
        scores.map((s) => [s, s]),
      ),
      exclude: choice("exclude", [
        ["volume", "this volume"],
        ["study", "its study"],
        ["patient", "its patient"],
        ["none", "nothing"],
      ]),
      limit: number("limit", 1, limits?.Hits ?? 1000),
      neighbours: number("neighbours", 5, 1000),
      contrast: choice("contrast", [["", "no label"], ...values]),
    };
    this.filter = new Filter(labels, (where) => on.change({ where }));
    this.summary = h("span", { class: "soft" });
    const c = this.controls;
    this.details = h(
      "details",
      { class: "options" },
      h("summary", {}, "Options ", this.summary),
      h(
        "div",
        { class: "fields" },
        field("Score", c.score),
        field("Leave out", c.exclude),
        field("Hits", c.limit),
        field("Cases for evidence", c.neighbours),
        field("Contrast by", c.contrast),
      ),
      h("h3", {}, "Only volumes with"),
      this.filter.element,
    );
    this.button = button("Search", () => on.search(), {
      class: "primary",
      title: "Search (Enter)",
    });
    this.selection = h("p", { class: "selected" });
    this.element = h(
      "div",
      { class: "ask" },
      h("div", { class: "row" }, this.selection, this.button),
      this.details,
    );
  }

  show(view, nSlices, searching) {
    for (const [name, control] of Object.entries(this.controls))
      if (document.activeElement !== control) control.value = view[name];
    this.filter.value = view.where;
    const [a, b] = view.slices ?? [0, nSlices - 1];
    const part = a === 0 && b === nSlices - 1 ? `all ${nSlices} slices` : `slices ${a} to ${b}`;
    this.selection.replaceChildren(
      h("span", { class: "soft" }, "Query: "),
      view.box ? `box on ${part}` : part,
    );
    const changed = Object.keys(DEFAULTS).filter((n) => view[n] !== DEFAULTS[n]);
    this.summary.textContent = changed
      .map((n) => (n === "where" ? "filter" : `${n} ${view[n]}`))
      .join(" · ");
    this.button.disabled = searching;
    this.button.textContent = searching ? "Searching…" : "Search";
  }
}
