// SPDX-License-Identifier: Apache-2.0
// hits.js: the ranked list.  A hit is a link to the view in which it is open, so that it can be opened in
// another tab, bookmarked and reached with Tab.

import { h } from "./dom.js";
import { get, query, url, volumePath } from "./api.js";
import { facts, score } from "./format.js";
import { formatView } from "./view.js";
import { text } from "./where.js";

const AT_ONCE = 25;

/** What the archive knows of the hits, by id: a search result has only ids, labels and matches. */
export async function volumesOf(ids, signal) {
  const known = new Map();
  for (let i = 0; i < ids.length; i += AT_ONCE) {
    const some = ids.slice(i, i + AT_ONCE);
    const where = some.map((id) => `VolumeId = ${text(id)}`).join(" or ");
    const { Volumes } = await get(`volumes${query({ where, limit: AT_ONCE })}`, {
      signal,
      quiet: true,
    });
    for (const v of Volumes) known.set(v.VolumeId, v);
  }
  return known;
}

function labels(values) {
  const all = Object.entries(values ?? {});
  return h(
    "ul",
    { class: "labels" },
    all
      .slice(0, 5)
      .map(([name, value]) =>
        h("li", { title: `${name}: ${value}` }, h("span", { class: "soft" }, name), " ", value),
      ),
    all.length > 5
      ? h(
          "li",
          {
            class: "soft",
            title: all
              .slice(5)
              .map((l) => l.join(": "))
              .join("\n"),
          },
          `+${all.length - 5}`,
        )
      : null,
  );
}

/** Where in the volume the matched run lies. */
function runBar(match, nSlices) {
  const bar = h("span", { class: "runbar", "aria-hidden": "true" }, h("i"));
  const [a, b] = match.MatchSlices;
  bar.firstChild.style.left = `${(100 * a) / nSlices}%`;
  bar.firstChild.style.width = `${(100 * (b - a + 1)) / nSlices}%`;
  return bar;
}

export class Hits {
  constructor() {
    this.head = h("p", { class: "listhead soft" });
    this.list = h("ol", { class: "hits", "aria-label": "Similar volumes, best first" });
    this.element = h("div", { class: "hitpanel" }, this.head, this.list);
    this.cards = new Map();
  }

  #card(match, view) {
    const at = match.BestPair.MatchSlice;
    const thumbnail = h("img", {
      src: `${url(volumePath(match.VolumeId))}/thumbnail.png${query({ slice: at, centre: view.window?.centre, width: view.window?.width })}`,
      alt: "",
      width: 84,
      height: 84,
      loading: "lazy",
      decoding: "async",
      onerror: (e) => e.target.classList.add("missing"),
    });
    const fact = h("p", { class: "facts" });
    const where = h("p", { class: "where" }, "slices ", h("b", {}, match.MatchSlices.join("–")));
    const verdict = h("span", { class: "verdict" });
    const link = h(
      "a",
      { href: formatView({ ...view, hit: match.VolumeId, slice: null, hitSlice: null }) },
      h("span", { class: "rank" }, match.Rank),
      thumbnail,
      h(
        "div",
        { class: "what" },
        h(
          "p",
          { class: "name" },
          h("b", { title: match.VolumeId }, match.VolumeId),
          h("span", { class: "score", title: "score; 1 is the same" }, score(match.Score)),
        ),
        h("div", { class: "factline" }, fact, verdict),
        where,
        labels(match.Labels),
      ),
    );
    return { element: h("li", {}, link), link, fact, where, verdict, match };
  }

  show(result, view) {
    this.cards.clear();
    const n = result.Matches.length;
    const of =
      result.Candidates === n ? `${n} volumes` : `best ${n} of ${result.Candidates} volumes`;
    this.head.textContent =
      n === 0
        ? ""
        : `${of} · ${result.ScoreType} · ${Math.max(1, Math.round(1000 * result.Seconds))} ms`;
    this.list.replaceChildren(
      ...result.Matches.map((match) => {
        const card = this.#card(match, view);
        this.cards.set(match.VolumeId, card);
        return card.element;
      }),
    );
    if (n === 0)
      this.list.replaceChildren(
        h(
          "li",
          { class: "nothing" },
          h("h3", {}, "No volume passed"),
          h(
            "p",
            {},
            "The filter, or what is left out of the ranking, leaves none. Loosen them in the options and search again.",
          ),
        ),
      );
  }

  showFacts(known) {
    for (const [id, card] of this.cards) {
      const volume = known.get(id);
      if (!volume) continue;
      card.fact.textContent = facts(volume).join(" · ");
      card.where.append(` of ${volume.Slices}`, runBar(card.match, volume.Slices));
    }
  }

  /** relevance: volume id -> true or false. */
  showRelevance(relevance) {
    for (const [id, card] of this.cards) {
      const said = relevance.get(id);
      card.verdict.textContent = said === true ? "relevant" : said === false ? "not relevant" : "";
      card.verdict.className = `verdict ${said === true ? "yes" : said === false ? "no" : ""}`;
    }
  }

  /** Marks the open hit; keeps the addresses of the others up to date with the view. */
  mark(view) {
    for (const [id, card] of this.cards) {
      card.link.setAttribute("href", formatView({ ...view, hit: id, slice: null, hitSlice: null }));
      if (id === view.hit) {
        if (card.link.getAttribute("aria-current") !== "true")
          card.element.scrollIntoView({ block: "nearest" });
        card.link.setAttribute("aria-current", "true");
      } else card.link.removeAttribute("aria-current");
    }
  }
}
