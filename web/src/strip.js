// SPDX-License-Identifier: Apache-2.0
// strip.js: a volume from its first slice to its last, with how well each slice matched, the run that
// matched, the slice that is shown and, on the query, the range to search with.

import { h, svg } from "./dom.js";

const HEIGHT = 100; // of the drawing; the page stretches it

const clamp = (x, low, high) => Math.min(high, Math.max(low, x));

export class Strip {
  #n = 1;
  #drag = null;

  /** onSlice(slice): the reader wants this slice.  onRange([a, b]): and this range; given for queries. */
  constructor({ label, onSlice, onRange }) {
    this.onSlice = onSlice;
    this.onRange = onRange;
    this.bars = svg("path", { class: "bars" });
    this.band = svg("path", { class: "band" });
    this.run = svg("rect", { class: "run", y: 0, height: HEIGHT });
    this.drawing = svg(
      "svg",
      { preserveAspectRatio: "none", "aria-hidden": "true" },
      this.run,
      this.band,
      this.bars,
    );
    this.cursor = h("div", { class: "cursor" });
    this.scale = h("span", { class: "scale" });
    this.ends = h("div", { class: "ends" }, h("span", {}, "0"), h("span", {}));
    this.handles = onRange
      ? ["First slice searched", "Last slice searched"].map((name, i) => this.#handle(name, i))
      : [];
    this.outside = onRange ? [h("div", { class: "outside" }), h("div", { class: "outside" })] : [];
    this.track = h(
      "div",
      { class: "track", onpointerdown: (e) => this.#down(e, null) },
      this.drawing,
      this.outside,
      this.cursor,
      this.handles,
    );
    this.track.addEventListener("pointermove", (e) => this.#move(e));
    for (const name of ["pointerup", "pointercancel"])
      this.track.addEventListener(name, () => (this.#drag = null));
    this.element = h(
      "div",
      { class: "strip", role: "group", "aria-label": label },
      this.track,
      this.scale,
      this.ends,
    );
  }

  #handle(name, i) {
    const element = h("div", {
      class: `handle ${i ? "last" : "first"}`,
      role: "slider",
      tabindex: 0,
      "aria-label": name,
      onpointerdown: (e) => this.#down(e, i),
      onkeydown: (e) => this.#key(e, i),
    });
    return element;
  }

  #key(event, i) {
    const step = {
      ArrowLeft: -1,
      ArrowDown: -1,
      ArrowRight: 1,
      ArrowUp: 1,
      PageDown: -10,
      PageUp: 10,
    };
    const ends = { Home: 0, End: this.#n - 1 };
    const to = event.key in step ? this.range[i] + step[event.key] : ends[event.key];
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    this.#setEnd(i, to);
  }

  #setEnd(i, slice) {
    const range = [...this.range];
    range[i] = i === 0 ? clamp(slice, 0, range[1]) : clamp(slice, range[0], this.#n - 1);
    if (range[i] !== this.range[i]) this.onRange(range);
    this.onSlice(range[i]);
  }

  #sliceAt(event) {
    const box = this.track.getBoundingClientRect();
    return clamp(Math.floor(((event.clientX - box.left) / box.width) * this.#n), 0, this.#n - 1);
  }

  #down(event, handle) {
    if (event.button !== 0) return;
    event.preventDefault();
    event.stopPropagation();
    this.track.setPointerCapture(event.pointerId);
    this.#drag = { handle };
    if (handle === null) this.onSlice(this.#sliceAt(event));
    else this.handles[handle].focus();
  }

  #move(event) {
    if (!this.#drag) return;
    if (this.#drag.handle === null) this.onSlice(this.#sliceAt(event));
    else this.#setEnd(this.#drag.handle, this.#sliceAt(event));
  }

  setSlices(n) {
    this.#n = n;
    this.drawing.setAttribute("viewBox", `0 0 ${n} ${HEIGHT}`);
    this.ends.lastChild.textContent = String(n - 1);
    this.setValues(null);
  }

  setSlice(slice) {
    this.cursor.style.left = `${(100 * (slice + 0.5)) / this.#n}%`;
  }

  setRange(range) {
    this.range = range;
    const left = [range[0], range[1] + 1];
    this.handles.forEach((handle, i) => {
      handle.style.left = `${(100 * left[i]) / this.#n}%`;
      handle.setAttribute("aria-valuemin", 0);
      handle.setAttribute("aria-valuemax", this.#n - 1);
      handle.setAttribute("aria-valuenow", range[i]);
      handle.setAttribute("aria-valuetext", `slice ${range[i]}`);
    });
    this.outside[0].style.width = `${(100 * left[0]) / this.#n}%`;
    this.outside[1].style.width = `${(100 * (this.#n - left[1])) / this.#n}%`;
  }

  /** values: similarity by slice, undefined where there is none; scaled so that `low` is a tenth of the
   * height and `high` all of it.  run: [first, last] or null. */
  setValues(values, [low, high] = [0, 1], run = null) {
    let path = "";
    values?.forEach((value, slice) => {
      if (value === undefined) return;
      const height = HEIGHT * (0.1 + 0.9 * clamp((value - low) / (high - low || 1), 0, 1));
      path += `M${slice + 0.12} ${HEIGHT}v${-height.toFixed(1)}h0.76v${height.toFixed(1)}z`;
    });
    this.bars.setAttribute("d", path);
    this.run.setAttribute("x", run ? run[0] : 0);
    this.run.setAttribute("width", run ? run[1] - run[0] + 1 : 0);
    this.scale.textContent = values ? `similarity ${low.toFixed(3)} to ${high.toFixed(3)}` : "";
    this.scale.title = values ? "similarity of the lowest and the highest bar" : "";
    this.element.classList.toggle("empty", !values);
  }

  /** Marks a run of slices that is not a match, such as that of a contrast; null: none. */
  setBand(run) {
    this.band.setAttribute(
      "d",
      run ? `M${run[0]} ${HEIGHT - 6}H${run[1] + 1}V${HEIGHT}H${run[0]}z` : "",
    );
  }
}
