// SPDX-License-Identifier: Apache-2.0
// case.js: a query, what was found, and one hit beside it.  The one idea: `show(view)` makes the screen
// agree with the view, whoever changed it (a key, a click, the address); everything the reader does is
// `change({...})` of the view.

import { h, button, announce, toast } from "./dom.js";
import { get, post, postAndWait, volumePath } from "./api.js";
import { facts } from "./format.js";
import { formatView, searchBody } from "./view.js";
import { Linking } from "./linking.js";
import { Viewer } from "./viewer.js";
import { Strip } from "./strip.js";
import { Toolbar } from "./toolbar.js";
import { Selection } from "./selection.js";
import { Options } from "./options.js";
import { Side } from "./side.js";
import { Relevance } from "./relevance.js";
import { volumesOf } from "./hits.js";
import { saveCohort } from "./cohorts.js";
import { makeReport, saveCsv, saveJson } from "./exports.js";
import { Solids } from "./solid.js";
import { layCase } from "./caselayout.js";

const clamp = (x, n) => Math.min(n - 1, Math.max(0, x));

export class CaseScreen {
  #searching = null; // the search that runs
  #turn = 0; // counts calls of show(): what an older one waited for is not shown any more

  /** app: {system, labels, go(view, {push})}. */
  constructor(app) {
    this.app = app;
    this.tool = "scroll";
    this.view = null;
    this.solid = new Solids(app.system.Archive.Plane);
    const change = (part, push) => this.change(part, push);
    this.queryViewer = new Viewer("Query", {
      slice: (n) => this.moveQuery(n),
      window: (w) => change({ window: w }),
      box: (box) => this.#boxDrawn(box),
    });
    this.hitViewer = new Viewer("Hit", {
      slice: (n) => this.moveHit(n),
      window: (w) => change({ window: w }),
    });
    this.queryStrip = new Strip({
      label: "Slices of the query",
      onSlice: (n) => this.moveQuery(n),
      onRange: (r) => this.setRange(r),
    });
    this.hitStrip = new Strip({ label: "Slices of the hit", onSlice: (n) => this.moveHit(n) });
    this.toolbar = new Toolbar(app.system.Windows ?? [], {
      tool: (t) => this.setTool(t),
      window: (w) => change({ window: w }),
      linked: () => change({ linked: !this.view.linked }),
      solid: () => change({ solid: !this.view.solid }),
    });
    this.selection = new Selection({
      range: (r) => this.setRange(r),
      box: (box) => change({ box }),
    });
    this.options = new Options(app.system.Scores ?? ["maxsim"], app.system.Limits, app.labels, {
      change,
      search: () => this.search(),
    });
    this.relevance = new Relevance((said) => this.side.hits.showRelevance(said));
    this.side = new Side(this.options, {
      tab: (tab) => change({ tab }),
      cohort: () => this.#cohort(),
      csv: () => saveCsv(this.result, this.relevance.said),
      json: () => saveJson(this.result),
      report: () => makeReport(this.#body()),
      slice: (n) => this.moveQuery(n),
      range: (r) => this.setRange(r),
      open: (id) => this.openHit(id),
    });
    Object.assign(this, layCase(this));
    for (const viewer of [this.queryViewer, this.hitViewer]) this.#watch(viewer);
  }

  #watch(viewer) {
    const here = () => {
      this.active = viewer;
      for (const v of [this.queryViewer, this.hitViewer])
        v.element.classList.toggle("active", v === viewer);
    };
    viewer.element.addEventListener("focusin", here);
    // Browsers report a move when the layout moves under a resting pointer: that is nobody's choice.
    viewer.element.addEventListener("pointermove", (e) => (e.movementX || e.movementY) && here());
  }

  /** Changes the view.  push: a step to come back to with the browser's Back. */
  change(part, push = false) {
    this.app.go({ ...this.view, ...part }, { push });
  }

  /** Makes the screen agree with a view; resolves when it does.  navigated: the view comes from the address;
   * then a search that it holds is made.  Otherwise one is made when the reader asks: until then
   * the answer on the screen is marked as that of another question. */
  async show(view, { navigated = false } = {}) {
    const turn = ++this.#turn;
    const current = () => turn === this.#turn;
    this.view = view;
    try {
      if (!this.volume || this.volumeKey !== volumePath(view.volume, view.upload)) {
        await this.#openQuery(view, current);
        if (!current()) return;
      }
      this.#showPart();
      this.#showSlices();
      if (view.searched && this.#isDue(navigated) && (await this.#search()) && !current())
        return this.show(this.view); // the reader moved on while the search ran
      if (!current()) return;
      await this.#showHit(current);
    } catch (error) {
      if (error.name === "AbortError" || !current()) return;
      this.side.showError(error, () => this.show(this.view, { navigated: true }));
    }
  }

  async #openQuery(view, current) {
    this.#forgetResult();
    const volume = await get(volumePath(view.volume, view.upload));
    if (!current()) return;
    this.volume = volume;
    this.volumeKey = volumePath(view.volume, view.upload);
    this.queryViewer.setVolume(volume, view.upload, this.app.system.Archive.Plane);
    this.queryViewer.setNote("Query");
    this.queryStrip.setSlices(volume.Slices);
    this.selection.setVolume(volume);
    this.queryTitle.replaceChildren(
      h("h2", { title: volume.VolumeId }, h("span", { class: "role" }, "Query"), volume.VolumeId),
      h("p", { class: "facts" }, [...facts(volume), `${volume.Slices} slices`].join(" · ")),
    );
    this.side.showNothing(volume, view.upload);
    document.title = `${volume.VolumeId} · cmir`;
  }

  #forgetResult() {
    this.#searching?.abort();
    this.failedKey = null;
    this.result = null;
    this.resultKey = null;
    this.hitVolume = null;
    this.linking = null;
    this.queryStrip.setSlices(1);
    this.hitPane.hidden = true;
    this.element.classList.remove("open", "found");
  }

  #body() {
    return searchBody(this.view, this.volume.Slices);
  }

  #key() {
    return JSON.stringify(this.#body());
  }

  // ---- Searching

  search() {
    this.asked = true;
    this.change({ searched: true, hit: null, hitSlice: null }, true);
  }

  /** Whether the answer is to be asked for now; one that failed, only when the reader says so. */
  #isDue(navigated) {
    if (this.asked) return true;
    const key = this.#key();
    if (this.result === null) return navigated || key !== this.failedKey;
    return navigated && key !== this.resultKey;
  }

  /** Searches; true when there is an answer.  Only a newer search takes its place: the reader may go on
   * looking at slices while it runs. */
  async #search() {
    this.#searching?.abort();
    const control = new AbortController();
    this.#searching = control;
    const key = this.#key();
    const body = this.#body();
    this.asked = false;
    this.result = null;
    this.failedKey = key; // until it has an answer
    this.options.show(this.view, this.volume.Slices, true);
    this.side.showSearching();
    const progress = { signal: control.signal, onProgress: (job) => this.side.showProgress(job) };
    try {
      const result = await postAndWait("search", body, progress);
      if (control.signal.aborted) return false;
      this.#found(result, key);
      return true;
    } catch (error) {
      if (!control.signal.aborted)
        this.side.showError(error, () => this.show(this.view, { navigated: true }));
      return false;
    } finally {
      if (this.#searching === control) {
        this.#searching = null;
        this.options.show(this.view, this.volume.Slices, false);
      }
    }
  }

  #found(result, key) {
    this.failedKey = null;
    this.result = result;
    this.resultKey = key;
    this.element.classList.add("found");
    this.side.showResult(result, this.view, (id) =>
      formatView({ ...this.view, hit: id, slice: null, hitSlice: null }),
    );
    this.queryStrip.setBand(result.Contrast?.Slices ?? null);
    announce(`${result.Matches.length} similar volumes found.`);
    this.#known(result);
  }

  /** What is nice to know of the hits, and comes after them. */
  async #known(result) {
    this.relevance
      .setQuery(this.view.upload ? `${this.view.upload}/${this.view.volume}` : this.view.volume)
      .catch(() => {});
    try {
      const known = await volumesOf(result.Matches.map((m) => m.VolumeId));
      if (this.result === result) this.side.hits.showFacts(known);
    } catch (error) {
      if (error.name !== "AbortError")
        toast(`Modality, age and sex of the hits are missing: ${error.message}`, "error");
    }
  }

  // ---- The hit

  async #showHit(current) {
    const { hit } = this.view;
    const open = Boolean(hit && this.result);
    this.side.hits.mark(this.view);
    this.element.classList.toggle("open", open);
    this.hitPane.hidden = !open;
    if (!open) {
      this.hitVolume = null;
      this.linking = null;
      this.queryStrip.setValues(null);
    } else if (this.hitVolume?.VolumeId !== hit || this.hitResult !== this.result) {
      await this.#openHit(hit, current).catch((error) => current() && this.#hitFailed(hit, error));
      if (!current()) return;
    } else this.relevance.setMatch(this.match);
    this.hitPane.classList.remove("loading");
    this.#showPart();
    this.#showSlices();
    await this.#showSolid();
  }

  /** The match of a volume: in the list, or, where it is not (a case of the evidence), asked for. */
  async #matchOf(id) {
    const listed = this.result.Matches.find((m) => m.VolumeId === id);
    if (listed) return listed;
    const { Query, Score } = this.#body();
    const match = await post("matches", { Query, VolumeId: id, Score });
    const rank = this.result.EvidenceCases?.find((c) => c.VolumeId === id)?.Rank ?? null;
    return { Rank: rank, VolumeId: id, ...match };
  }

  /** Asked for once, also where the reader moves on while it is on its way. */
  #fetchHit(id) {
    const { opening, result } = this;
    if (opening?.id === id && opening.result === result) return opening.both;
    const both = Promise.all([get(volumePath(id)), this.#matchOf(id)]);
    this.opening = { id, result, both };
    both.catch(() => (this.opening = null));
    return both;
  }

  async #openHit(id, current) {
    // What is judged is the hit that the reader asked for, also while its picture is on its way.
    this.relevance.setMatch(this.result.Matches.find((m) => m.VolumeId === id) ?? null);
    this.hitPane.classList.add("loading");
    const [volume, match] = await this.#fetchHit(id);
    if (!current()) return;
    this.hitVolume = volume;
    this.hitResult = this.result;
    this.match = match;
    this.linking = new Linking(match.SliceMatches);
    this.hitViewer.setVolume(volume, null, this.app.system.Archive.Plane);
    this.hitViewer.setNote(match.Rank ? `Hit ${match.Rank}` : "Case");
    this.hitStrip.setSlices(volume.Slices);
    const range = this.linking.range();
    this.hitStrip.setValues(this.linking.ofHit(volume.Slices), range, match.MatchSlices);
    this.queryStrip.setValues(this.linking.ofQuery(this.volume.Slices), range, match.QuerySlices);
    this.hitTitle.replaceChildren(
      h(
        "h2",
        { title: id },
        h("span", { class: "role match" }, match.Rank ? `Hit ${match.Rank}` : "Case"),
        id,
      ),
      h("p", { class: "facts" }, [...facts(volume), `${volume.Slices} slices`].join(" · ")),
    );
    this.relevance.setMatch(match);
    announce(`Hit ${match.Rank ?? ""}, ${id}, is open.`);
    const { slice, hitSlice } = this.view;
    if (slice === null || hitSlice === null)
      this.view = {
        ...this.view,
        slice: slice ?? match.BestPair.QuerySlice,
        hitSlice: hitSlice ?? this.linking.of(slice)?.[1] ?? match.BestPair.MatchSlice,
      };
    this.app.go(this.view, { push: false, quiet: true });
  }

  /** The list stays: another hit may open. */
  #hitFailed(id, error) {
    this.hitVolume = null;
    this.linking = null;
    this.queryStrip.setValues(null);
    this.hitStrip.setSlices(1);
    this.hitTitle.replaceChildren(h("h2", {}, id));
    this.hitViewer.fail(`This hit cannot be shown: ${error.message}`);
    this.pairText.replaceChildren(button("Try again", () => this.show(this.view)));
  }

  openHit(id) {
    this.change({ hit: id, slice: null, hitSlice: null }, true);
  }

  closeHit() {
    if (this.view.hit) this.change({ hit: null, hitSlice: null, solid: false }, true);
  }

  nextHit(step) {
    const ids = this.result?.Matches.map((m) => m.VolumeId) ?? [];
    if (!ids.length) return;
    const at = ids.indexOf(this.view.hit);
    const next = at < 0 ? (step > 0 ? 0 : ids.length - 1) : at + step;
    if (ids[next]) this.change({ hit: ids[next], slice: null, hitSlice: null }, at < 0);
  }

  // ---- Slices

  moveQuery(n) {
    const slice = clamp(n, this.volume.Slices);
    const match = this.view.linked && this.linking?.of(slice);
    this.change(match ? { slice, hitSlice: match[1] } : { slice });
  }

  moveHit(n) {
    if (!this.hitVolume) return;
    const hitSlice = clamp(n, this.hitVolume.Slices);
    const slice = this.view.linked ? this.linking.queryFor(hitSlice) : null;
    this.change(slice === null ? { hitSlice } : { slice, hitSlice });
  }

  /** Moves the viewer at which the reader was last, with the pointer or the focus. */
  move(by) {
    if (this.hitVolume && this.active === this.hitViewer) this.moveHit(this.hitViewer.slice + by);
    else this.moveQuery(this.queryViewer.slice + by);
  }

  #showSlices() {
    const { slice, hitSlice, window } = this.view;
    const at = clamp(slice ?? Math.floor(this.volume.Slices / 2), this.volume.Slices);
    this.queryViewer.show(at, window);
    this.queryStrip.setSlice(at);
    if (!this.hitVolume) return;
    const hitAt = clamp(hitSlice ?? this.match.BestPair.MatchSlice, this.hitVolume.Slices);
    this.hitViewer.show(hitAt, window);
    this.hitStrip.setSlice(hitAt);
    const match = this.linking.of(at);
    this.pairText.replaceChildren(
      !match
        ? h("span", { class: "soft" }, `Query slice ${at} was not searched with`)
        : match[1] === hitAt
          ? h(
              "span",
              {},
              h("b", {}, at),
              " ↔ ",
              h("b", {}, hitAt),
              ` similarity ${match[2].toFixed(4)}`,
            )
          : h(
              "span",
              { class: "soft" },
              `Query slice ${at} matched slice ${match[1]} (${match[2].toFixed(4)})`,
            ),
      h(
        "span",
        { class: "soft" },
        `score ${this.match.Score.toFixed(4)}, matched run ${this.match.MatchSlices.join("–")}`,
      ),
    );
  }

  // ---- What is searched with, tools

  #showPart() {
    const range = this.view.slices ?? [0, this.volume.Slices - 1];
    this.queryStrip.setRange([
      clamp(range[0], this.volume.Slices),
      clamp(range[1], this.volume.Slices),
    ]);
    this.queryViewer.setBox(this.view.box);
    this.queryViewer.setRange(range);
    this.selection.show(this.view.slices, this.view.box);
    this.options.show(this.view, this.volume.Slices, this.#searching !== null);
    this.side.showStale(
      this.result !== null && this.view.searched && this.resultKey !== this.#key(),
    );
    this.side.showTab(this.view.tab);
    this.toolbar.show({
      tool: this.tool,
      window: this.view.window,
      linked: this.view.linked,
      solid: this.view.solid,
      open: Boolean(this.hitVolume),
    });
    for (const viewer of [this.queryViewer, this.hitViewer])
      viewer.setTool(viewer === this.hitViewer && this.tool === "box" ? "scroll" : this.tool);
  }

  setRange(range) {
    const whole = !range || (range[0] === 0 && range[1] === this.volume.Slices - 1);
    this.change({ slices: whole ? null : range });
  }

  setRangeEnd(i) {
    const range = [...(this.view.slices ?? [0, this.volume.Slices - 1])];
    range[i] = this.queryViewer.slice;
    if (range[0] > range[1]) range[1 - i] = range[i];
    this.setRange(range);
  }

  /** A box drawn on one slice holds for some slices around it, unless a range was set. */
  #boxDrawn(box) {
    const at = this.queryViewer.slice;
    const slices = this.view.slices ?? [
      clamp(at - 4, this.volume.Slices),
      clamp(at + 4, this.volume.Slices),
    ];
    this.tool = "scroll";
    this.change({ box, slices });
  }

  setTool(tool) {
    this.tool = tool;
    this.#showPart();
  }

  async #cohort() {
    try {
      await saveCohort(this.result, this.relevance.said, this.#body().Query);
    } catch (error) {
      toast(`Not saved: ${error.message}`, "error");
    }
  }

  /** What 3-D shows: the query, and the hit if one is open; nothing where it is not asked for. */
  #solidStages() {
    if (!this.view.solid) return [];
    const of = (viewer, stage, upload, move) => ({
      stage,
      volume: viewer.volume,
      upload,
      window: viewer.shownWindow,
      slice: viewer.slice,
      move,
    });
    const query = of(this.queryViewer, this.queryStage, this.view.upload, (n) => this.moveQuery(n));
    if (!this.hitVolume) return [query];
    return [query, of(this.hitViewer, this.hitStage, null, (n) => this.moveHit(n))];
  }

  async #showSolid() {
    try {
      await this.solid.show(this.#solidStages());
    } catch (error) {
      toast(`3-D: ${error.message}`, "error");
      this.change({ solid: false });
    }
  }

  close() {
    this.#turn++;
    this.solid.close();
    this.queryViewer.close();
    this.hitViewer.close();
  }
}
