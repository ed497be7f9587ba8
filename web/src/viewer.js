// SPDX-License-Identifier: Apache-2.0
// viewer.js: one volume, one slice of it at a time.  Knows nothing of searching: it shows a slice, and tells
// which slice, window, box or measurement the reader wants.

import { h } from "./dom.js";
import { pause } from "./api.js";
import { SliceSource } from "./slices.js";
import { mm } from "./format.js";
import { extent, place, toSlice, boxOf, LETTERS } from "./geometry.js";
import { drawPicture, drawBox, drawRulers, drawScale } from "./drawing.js";
import { pointers } from "./gestures.js";

const SLOW_MS = 150; // later than this it is said that the picture is on its way
const GLANCE_MS = 50; // and so long the scan's own picture may take before the preview's is asked for
const GLANCE_SIDE = 128; // pictures as small as this are made of previews, at once

export class Viewer {
  #source = null;
  #request = null;
  #shown = null; // {picture, slice}
  #isRead = false; // the scan: it has shown a picture, so that others come soon
  #direction = 1;
  #slow = 0;
  #frame = 0;

  /** name: "Query" or "Hit".  on: {slice(n), window(w), box(b)}. */
  constructor(name, on) {
    this.name = name;
    this.on = on;
    this.tool = "scroll";
    this.rulers = [];
    this.zoom = 1;
    this.pan = [0, 0];
    this.canvas = h("canvas", { "aria-hidden": "true" });
    this.corners = Object.fromEntries(
      ["topleft", "topright", "bottomleft", "bottomright"].map((c) => [
        c,
        h("span", { class: `corner ${c}` }),
      ]),
    );
    this.letters = ["left", "right", "top", "bottom"].map((side) =>
      h("span", { class: "letter", "data-side": side, "aria-hidden": "true" }),
    );
    this.problem = h("div", { class: "problem", hidden: true });
    this.element = h(
      "div",
      {
        class: "viewer",
        role: "slider",
        tabindex: 0,
        "aria-label": `${name}: slice`,
        "aria-orientation": "vertical",
      },
      this.canvas,
      this.letters,
      Object.values(this.corners),
      this.problem,
    );
    pointers(this);
    this.resizing = new ResizeObserver(() => this.#resize());
    this.resizing.observe(this.element);
  }

  /** volume: as GET /volumes/{volume} gives it. */
  setVolume(volume, upload, plane) {
    this.#source?.stop();
    this.#request?.abort();
    this.volume = volume;
    this.extent = extent(volume);
    this.#source = new SliceSource(volume, upload);
    this.#shown = null;
    this.#isRead = false;
    this.rulers = [];
    this.box = null;
    this.resetView();
    this.letters.forEach((element, i) => (element.textContent = LETTERS[plane]?.[i] ?? ""));
    this.element.setAttribute("aria-valuemin", 0);
    this.element.setAttribute("aria-valuemax", volume.Slices - 1);
    if (volume.Pixels === "none")
      this.fail(
        "No picture: the source file cannot be read, and the archive keeps no preview of it.",
      );
    else this.fail(null);
  }

  /** Shows a slice under a window ({centre, width}, or null for the volume's own). */
  show(slice, window) {
    if (this.slice !== undefined && slice !== this.slice)
      this.#direction = Math.sign(slice - this.slice);
    this.slice = slice;
    this.window = window;
    this.#label();
    if (this.volume.Pixels !== "none") this.#fetch();
  }

  get shownWindow() {
    return (
      this.window ?? {
        centre: this.volume.WindowDefault.Centre,
        width: this.volume.WindowDefault.Width,
      }
    );
  }

  /** The longest side to ask for: enough for the screen, in two steps so that pictures are asked for once. */
  #side() {
    const wanted = this.zoom * Math.max(this.canvas.width, this.canvas.height);
    return wanted > 640 ? 1024 : 512;
  }

  async #fetch() {
    const { slice, window } = this;
    const side = this.#side();
    const here = this.#source.peek(slice, window, side);
    this.#request?.abort();
    if (here) {
      this.#accept(here, slice);
      return;
    }
    const request = new AbortController();
    this.#request = request;
    clearTimeout(this.#slow);
    this.#slow = setTimeout(() => this.element.classList.add("waiting"), SLOW_MS);
    if (!this.#isRead && this.volume.Pixels === "source")
      this.#glance(slice, window, request.signal);
    try {
      const picture = await this.#source.get(slice, window, side, request.signal);
      if (!request.signal.aborted) this.#accept(picture, slice);
    } catch (error) {
      if (request.signal.aborted || error.name === "AbortError") return;
      this.#quiet();
      this.fail(error.message);
    }
  }

  /** A scan is read whole before its first slice shows; meanwhile there is what its preview shows. */
  async #glance(slice, window, signal) {
    try {
      await pause(GLANCE_MS, signal);
      const picture = await this.#source.get(slice, window, GLANCE_SIDE, signal);
      if (this.#isRead || signal.aborted || picture.pixels !== "preview") return;
      this.#put(picture, slice, "preview: the scan is being read");
    } catch {
      // The picture of the scan is on its way, or its error.
    }
  }

  #accept(picture, slice) {
    this.#quiet();
    this.#isRead = true;
    this.#put(picture, slice, this.#originText(picture));
    this.#source.fetchAround(slice, this.#direction, this.window, this.#side());
  }

  #put(picture, slice, origin) {
    this.fail(null);
    this.#shown = { picture, slice, values: this.shownWindow };
    this.corners.topright.textContent = origin;
    this.#label();
    this.draw();
  }

  /** What the reader must know of a picture that is not the source's. */
  #originText({ pixels, bitmap }) {
    if (pixels !== "preview") return "";
    const whole = Math.min(this.#side(), Math.max(this.volume.Rows, this.volume.Columns));
    return Math.max(bitmap.width, bitmap.height) < whole
      ? "preview: coarser than the source"
      : "preview";
  }

  #quiet() {
    clearTimeout(this.#slow);
    this.element.classList.remove("waiting");
  }

  /** Says why there is no picture; null: there is one again. */
  fail(message) {
    this.problem.textContent = message ?? "";
    this.problem.hidden = !message;
    this.canvas.hidden = Boolean(message);
  }

  /** Number and window are those of the picture that is drawn: never new ones on an old picture. */
  #label() {
    const { volume, slice } = this;
    const drawn = this.#shown?.slice ?? slice;
    const at = volume.SliceMm[drawn];
    const air = volume.SliceMarks?.[drawn] === "air" ? " · air, not searched" : "";
    const where = Number.isFinite(at) ? ` · ${mm(at)}` : "";
    this.corners.bottomleft.textContent = `slice ${drawn} of 0–${volume.Slices - 1}${where}${air}`;
    const w = this.#shown?.values ?? this.shownWindow;
    this.corners.bottomright.textContent = `C ${Math.round(w.centre)}  W ${Math.round(w.width)}`;
    this.element.setAttribute("aria-valuenow", slice);
    this.element.setAttribute(
      "aria-valuetext",
      `slice ${slice} of 0 to ${volume.Slices - 1}${where}${air}`,
    );
  }

  setBox(box) {
    this.box = box;
    this.draw();
  }

  /** range: slices for which the box holds. */
  setRange(range) {
    this.range = range;
    this.draw();
  }

  setTool(tool) {
    this.tool = tool;
    this.element.dataset.tool = tool;
  }

  setNote(text) {
    this.corners.topleft.textContent = text;
  }

  resetView() {
    this.zoom = 1;
    this.pan = [0, 0];
    this.draw();
  }

  /** Zooms by a factor about a point of the view. */
  zoomAt(factor, [x, y]) {
    const before = this.zoom;
    this.zoom = Math.min(8, Math.max(1, before * factor));
    const k = this.zoom / before;
    const size = this.element.getBoundingClientRect();
    const from = [x - size.width / 2, y - size.height / 2];
    this.pan = this.zoom === 1 ? [0, 0] : [0, 1].map((i) => from[i] - k * (from[i] - this.pan[i]));
    this.draw();
    if (
      this.#source &&
      this.slice !== undefined &&
      !this.#source.peek(this.slice, this.window, this.#side())
    )
      this.#fetch();
  }

  /** Where the slice lies in the element, in CSS pixels. */
  get placed() {
    const size = this.element.getBoundingClientRect();
    return place(this.extent, size, this.zoom, this.pan);
  }

  fractionsAt(point) {
    return toSlice(this.placed, point);
  }

  finishBox(a, b) {
    this.on.box?.(boxOf(this.volume, a, b));
  }

  #resize() {
    const size = this.element.getBoundingClientRect();
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(size.width * ratio));
    this.canvas.height = Math.max(1, Math.round(size.height * ratio));
    this.#paint();
  }

  draw() {
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => this.#paint());
  }

  #paint() {
    const context = this.canvas.getContext("2d");
    const ratio = window.devicePixelRatio || 1;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (!this.#shown || !this.extent) return;
    const at = this.placed;
    drawPicture(context, this.#shown.picture.bitmap, at);
    drawScale(context, at, this.element.clientHeight);
    const inRange = !this.range || (this.slice >= this.range[0] && this.slice <= this.range[1]);
    if (this.box) drawBox(context, at, this.volume, this.box, inRange);
    if (this.drafted) drawBox(context, at, this.volume, boxOf(this.volume, ...this.drafted), true);
    drawRulers(
      context,
      at,
      this.extent,
      this.rulers.filter((r) => r.slice === this.#shown.slice),
    );
  }

  close() {
    this.resizing.disconnect();
    this.#request?.abort();
    this.#source?.stop();
  }
}
