// SPDX-License-Identifier: Apache-2.0
// selection.js: which part of the query is searched with, in numbers: what the handles and the box tool do
// with a pointer is done here with the keyboard, and exactly.

import { h, button } from "./dom.js";

export class Selection {
  /** on: {range([a, b] or null), box(box or null)}. */
  constructor(on) {
    this.on = on;
    this.range = ["First slice", "Last slice"].map((name) =>
      this.#number(name, () => this.#rangeChanged()),
    );
    this.sides = ["First row", "Last row", "First column", "Last column"].map((name) =>
      this.#number(name, () => this.#boxChanged()),
    );
    this.boxed = h(
      "span",
      { class: "boxed" },
      h("span", { class: "soft" }, "Box rows"),
      this.sides[0],
      "–",
      this.sides[1],
      h("span", { class: "soft" }, "columns"),
      this.sides[2],
      "–",
      this.sides[3],
    );
    this.addBox = button("Add a box", () => this.#middleBox(), {
      title: "Search with a part of each slice: draw it with the Box tool, or set it in numbers",
    });
    this.clear = button(
      "Clear",
      () => {
        on.box(null);
        on.range(null);
      },
      { title: "The whole volume (X)" },
    );
    this.element = h(
      "div",
      { class: "selection", role: "group", "aria-label": "Part of the query to search with" },
      h("span", { class: "soft" }, "Slices"),
      this.range[0],
      "–",
      this.range[1],
      this.boxed,
      this.addBox,
      this.clear,
    );
  }

  #number(name, onchange) {
    return h("input", {
      type: "number",
      inputmode: "numeric",
      min: 0,
      "aria-label": name,
      title: name,
      onchange,
    });
  }

  #values(inputs) {
    const values = inputs.map((i) => Number(i.value));
    return inputs.every((i) => i.value !== "" && i.checkValidity()) ? values : null;
  }

  #rangeChanged() {
    const v = this.#values(this.range);
    if (v) this.on.range([Math.min(...v), Math.max(...v)]);
  }

  #boxChanged() {
    const v = this.#values(this.sides);
    if (v)
      this.on.box({
        rows: [Math.min(v[0], v[1]), Math.max(v[0], v[1])],
        columns: [Math.min(v[2], v[3]), Math.max(v[2], v[3])],
      });
  }

  #middleBox() {
    const half = (n) => [Math.floor(n / 4), Math.ceil((3 * n) / 4) - 1];
    this.on.box({ rows: half(this.volume.Rows), columns: half(this.volume.Columns) });
    this.sides[0].focus();
  }

  setVolume(volume) {
    this.volume = volume;
    const limits = [volume.Rows, volume.Rows, volume.Columns, volume.Columns];
    this.sides.forEach((input, i) => (input.max = limits[i] - 1));
    for (const input of this.range) input.max = volume.Slices - 1;
  }

  show(slices, box) {
    const set = (inputs, values) => inputs.forEach((input, i) => (input.value = values[i]));
    set(this.range, slices ?? [0, this.volume.Slices - 1]);
    this.boxed.hidden = !box;
    this.addBox.hidden = Boolean(box);
    if (box) set(this.sides, [...box.rows, ...box.columns]);
    this.clear.hidden = !slices && !box;
  }
}
