// SPDX-License-Identifier: Apache-2.0
// relevance.js: the reader's own word on hits: relevant, not relevant, or nothing.

import { h, button, toast } from "./dom.js";
import { icon } from "./icons.js";
import { get, post, query } from "./api.js";

export class Relevance {
  /** onChange(map): volume id -> true or false. */
  constructor(onChange) {
    this.onChange = onChange;
    this.said = new Map();
    this.yes = button([icon("yes"), h("span", {}, "Relevant")], () => this.toggle(true), {
      "aria-pressed": "false",
      title: "This hit helps (R)",
      "aria-label": "Relevant",
      class: "yes",
    });
    this.no = button([icon("no"), h("span", {}, "Not")], () => this.toggle(false), {
      "aria-pressed": "false",
      title: "This hit does not help (I)",
      "aria-label": "Not relevant",
      class: "no",
    });
    this.element = h(
      "div",
      { class: "segments relevance", role: "group", "aria-label": "Relevance of this hit" },
      this.yes,
      this.no,
    );
  }

  /** Reads what was said of this query before; an upload's id is its own. */
  async setQuery(id) {
    if (this.query === id) return;
    this.query = id;
    this.said = new Map();
    this.onChange(this.said);
    const { Feedback } = await get(`feedback${query({ query: id })}`, { quiet: true });
    if (this.query !== id) return;
    for (const f of Feedback) if (f.Relevant !== null) this.said.set(f.VolumeId, f.Relevant);
    this.#show();
  }

  /** match: the open hit's; null while it is not known. */
  setMatch(match) {
    this.match = match;
    this.#show();
  }

  #show() {
    const said = this.match && this.said.get(this.match.VolumeId);
    this.yes.setAttribute("aria-pressed", said === true);
    this.no.setAttribute("aria-pressed", said === false);
    this.onChange(this.said);
  }

  async toggle(relevant) {
    if (!this.match) return;
    const { VolumeId, QuerySlices, MatchSlices } = this.match;
    const before = this.said.get(VolumeId);
    const now = before === relevant ? null : relevant;
    this.#put(VolumeId, now);
    try {
      await post("feedback", {
        QueryId: this.query,
        VolumeId,
        Relevant: now,
        QuerySlices,
        MatchSlices,
      });
    } catch (error) {
      this.#put(VolumeId, before ?? null);
      toast(`Not kept: ${error.message}`, "error");
    }
  }

  #put(id, value) {
    if (value === null) this.said.delete(id);
    else this.said.set(id, value);
    this.#show();
  }
}
