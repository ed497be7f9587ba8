// SPDX-License-Identifier: Apache-2.0
// side.js: the right-hand side of a case: the question, then its answer: hits, evidence, what to do with them.

import { h, button } from "./dom.js";
import { date, seconds } from "./format.js";
import { Hits } from "./hits.js";
import { evidencePanel } from "./evidence.js";
import { contrastSection } from "./contrast.js";
import { exportMenu } from "./exports.js";

const DOING = {
  receiving: "Receiving",
  reading: "Reading the scan",
  encoding: "Encoding slices",
  searching: "Searching",
};

/** "Encoding slices: 12 of 60, about 3 s left". */
export function progressText({ State, Progress: p }) {
  if (State === "queued") return "Waiting for other work to end…";
  const what = DOING[p?.What] ?? "Working";
  if (!p?.Total) return `${what}…`;
  const left = p.EtaSeconds ? `, about ${seconds(p.EtaSeconds)} left` : "";
  return `${what}: ${p.Done} of ${p.Total}${left}`;
}

export class Side {
  /** on: {tab, cohort, csv, json, report, slice, range, open}. */
  constructor(options, on) {
    this.on = on;
    this.hits = new Hits();
    this.evidence = h("div", { class: "evidence", onclick: (e) => this.#openCase(e) });
    this.tabs = [
      ["hits", "Hits"],
      ["evidence", "Evidence"],
    ].map(([name, text]) =>
      h(
        "button",
        {
          type: "button",
          role: "tab",
          id: `tab-${name}`,
          "aria-controls": `panel-${name}`,
          "data-tab": name,
          onclick: () => on.tab(name),
          onkeydown: (e) => this.#key(e),
        },
        text,
      ),
    );
    this.hitPanel = h(
      "div",
      {
        class: "panel",
        id: "panel-hits",
        role: "tabpanel",
        "aria-labelledby": "tab-hits",
        tabindex: 0,
      },
      this.hits.element,
    );
    this.evidencePanel = h(
      "div",
      {
        class: "panel",
        id: "panel-evidence",
        role: "tabpanel",
        "aria-labelledby": "tab-evidence",
        tabindex: 0,
      },
      this.evidence,
    );
    this.stale = h(
      "p",
      { class: "stale", hidden: true },
      "The question changed: search again to see its answer.",
    );
    this.state = h("div", { class: "state", role: "status" });
    this.actions = h(
      "footer",
      { class: "actions", hidden: true },
      button("Save as cohort", on.cohort, { class: "quiet" }),
      exportMenu(on),
    );
    this.answer = h(
      "div",
      { class: "answer", hidden: true },
      h("div", { role: "tablist", class: "tabs", "aria-label": "Answer" }, this.tabs),
      h("div", { class: "panels" }, this.hitPanel, this.evidencePanel),
    );
    this.element = h(
      "aside",
      { class: "side", "aria-label": "Search" },
      options.element,
      this.stale,
      this.state,
      this.answer,
      this.actions,
    );
  }

  /** A case is opened under the window and slices of now; in a new tab under those of the search. */
  #openCase(event) {
    const id = event.target.closest("a[data-hit]")?.dataset.hit;
    if (id === undefined || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    this.on.open(id);
  }

  #key(event) {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    event.preventDefault();
    event.stopPropagation();
    const other = this.tabs.find((t) => t !== event.target);
    this.on.tab(other.dataset.tab);
    other.focus();
  }

  showTab(tab) {
    this.element.dataset.tab = tab;
    for (const t of this.tabs) {
      t.setAttribute("aria-selected", t.dataset.tab === tab);
      t.tabIndex = t.dataset.tab === tab ? 0 : -1;
    }
  }

  showStale(stale) {
    this.stale.hidden = !stale;
  }

  #only(...children) {
    this.state.replaceChildren(...children);
    this.answer.hidden = true;
    this.actions.hidden = true;
  }

  /** Before a search: what is known of the query. */
  showNothing(volume, upload) {
    const known = [
      ["Patient", volume.PatientId],
      ["Study date", date(volume.StudyDate)],
      ["Description", volume.SeriesDescription],
      ["Maker", volume.Manufacturer],
      ["Every", volume.SliceSpacing ? `${volume.SliceSpacing.toFixed(2)} mm` : ""],
      ...Object.entries(volume.Labels ?? {}),
    ].filter(([, value]) => value);
    this.#only(
      h(
        "div",
        { class: "nothing" },
        h(
          "p",
          {},
          "Search with the whole scan, or with what matters: a range of slices (keys ",
          h("kbd", {}, "["),
          " and ",
          h("kbd", {}, "]"),
          ") or a box.",
        ),
        upload
          ? h(
              "p",
              { class: "soft" },
              "This scan was uploaded. It is yours alone, is not part of the archive, and goes after a day.",
            )
          : null,
      ),
      h(
        "dl",
        { class: "known" },
        known.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
      ),
    );
  }

  showSearching() {
    this.#only(
      h(
        "div",
        { class: "working" },
        h("progress", { "aria-label": "Searching" }),
        h("p", {}, "Searching…"),
      ),
    );
  }

  showProgress(job) {
    const bar = this.state.querySelector("progress");
    if (!bar) return;
    bar.nextSibling.textContent = progressText(job);
    if (job.Progress?.Total) {
      bar.max = job.Progress.Total;
      bar.value = job.Progress.Done;
    }
  }

  showError(error, again) {
    const details = error.details ? h("p", { class: "soft" }, error.details) : null;
    const box = h(
      "div",
      { class: "failed", role: "alert" },
      h("h3", {}, error.status === 404 ? "Not found" : "That did not work"),
      h("p", {}, error.message),
      details,
      button("Try again", again),
    );
    this.#only(box);
  }

  showResult(result, view, hitAddress) {
    this.state.replaceChildren();
    this.answer.hidden = false;
    this.actions.hidden = result.Matches.length === 0;
    this.hits.show(result, view);
    this.evidence.replaceChildren(
      ...(result.Contrast ? [contrastSection(result.Contrast, this.on.slice, this.on.range)] : []),
      ...evidencePanel(result, hitAddress).filter(Boolean),
      h(
        "p",
        { class: "soft notice" },
        `${result.Notice[0].toUpperCase()}${result.Notice.slice(1)}.`,
      ),
    );
    this.hitPanel.scrollTop = 0;
    this.evidencePanel.scrollTop = 0;
  }
}
