// SPDX-License-Identifier: Apache-2.0
// evidence.js: what the nearest cases say: counts with their intervals, and which cases they are.  Never a
// bare verdict, and nothing where there are too few.

import { h, svg } from "./dom.js";
import { calibration, number, percent } from "./format.js";

/** Links to the cases behind a count. */
function cases(ranks, byRank, hitAddress, name) {
  if (ranks.length === 0) return h("span", { class: "soft" }, "none");
  return h(
    "span",
    { class: "cases" },
    ranks.map((rank) => {
      const id = byRank.get(rank);
      return id === undefined
        ? h("span", {}, rank)
        : h("a", { href: hitAddress(id), "data-hit": id, title: `${name}: ${id}` }, rank);
    }),
  );
}

/** The share as a bar, its 95 % interval as a line across. */
function interval(value) {
  const [low, high] = value.ShareInterval;
  return svg(
    "svg",
    {
      viewBox: "0 0 100 12",
      preserveAspectRatio: "none",
      class: "interval",
      "aria-hidden": "true",
    },
    svg("rect", { x: 0, y: 0, width: 100, height: 12, class: "ground" }),
    svg("rect", { x: 0, y: 2, width: 100 * value.Share, height: 8, class: "share" }),
    svg("path", {
      d: `M${100 * low} 6H${100 * high}M${100 * low} 2v8M${100 * high} 2v8`,
      class: "whisker",
    }),
  );
}

function classRows(label, byRank, hitAddress) {
  return h(
    "table",
    {},
    h(
      "thead",
      { class: "sr" },
      h(
        "tr",
        {},
        ["Value", "Cases", "Share and 95 % interval", "For", "Against"].map((t) =>
          h("th", { scope: "col" }, t),
        ),
      ),
    ),
    h(
      "tbody",
      {},
      label.Values.map((value) =>
        h(
          "tr",
          {},
          h("th", { scope: "row", title: value.Value }, value.Value),
          h("td", { class: "count" }, `${value.Count} of ${label.Labelled}`),
          h(
            "td",
            { class: "bar" },
            interval(value),
            h("span", { class: "sr" }, percent(value.Share), ", "),
            h(
              "small",
              {},
              `${percent(value.ShareInterval[0])} to ${percent(value.ShareInterval[1])}`,
              h(
                "span",
                { title: "share where nearer cases count more" },
                ` · by similarity ${percent(value.WeightedShare)}`,
              ),
            ),
          ),
          h(
            "td",
            { class: "links" },
            h("small", {}, "for "),
            cases(value.For, byRank, hitAddress, "case for"),
          ),
          h(
            "td",
            { class: "links" },
            h("small", {}, "against "),
            cases(value.Against, byRank, hitAddress, "case against"),
          ),
        ),
      ),
    ),
  );
}

function numberRows(label, byRank, hitAddress) {
  return h(
    "div",
    { class: "numbers" },
    h(
      "p",
      {},
      "weighted median ",
      h("b", {}, number(label.WeightedMedian)),
      `, range ${number(label.Range[0])} to ${number(label.Range[1])}`,
    ),
    h(
      "p",
      { class: "cases values" },
      label.CaseValues.map(({ Rank, Value }) => {
        const id = byRank.get(Rank);
        return id === undefined
          ? h("span", {}, Value)
          : h("a", { href: hitAddress(id), "data-hit": id, title: `case ${Rank}: ${id}` }, Value);
      }),
    ),
  );
}

function labelSection(label, byRank, hitAddress) {
  const body = !label.Enough
    ? h(
        "p",
        { class: "notenough" },
        `Not enough evidence: ${label.Labelled} of the ${label.Cases} nearest cases have this label, 5 are needed.`,
      )
    : label.Kind === "number"
      ? numberRows(label, byRank, hitAddress)
      : classRows(label, byRank, hitAddress);
  return h(
    "section",
    {},
    h("h3", {}, label.Label, h("small", {}, `${label.Labelled} of ${label.Cases} cases`)),
    body,
    label.Enough ? h("p", { class: "calibration soft" }, calibration(label.Calibration)) : null,
  );
}

/** The panel; hitAddress(id): where a case is open. */
export function evidencePanel(result, hitAddress) {
  if (result.Matches.length === 0) return [];
  if (!result.Evidence?.length)
    return [
      h(
        "div",
        { class: "nothing" },
        h("h3", {}, "No evidence"),
        h(
          "p",
          {},
          "The nearest cases have no labels. Labels (diagnosis, stage, outcome) come from a table: the archive's page takes it.",
        ),
      ),
    ];
  const byRank = new Map(result.EvidenceCases.map((c) => [c.Rank, c.VolumeId]));
  const own = result.EvidenceCases.some((c) => c.OwnPatient);
  return [
    h(
      "p",
      { class: "listhead soft" },
      `What is known of the ${result.EvidenceCases.length} nearest cases; a case is a patient`,
    ),
    own ? h("p", { class: "warning" }, "The query's own patient is among the cases.") : null,
    result.Evidence.map((label) => labelSection(label, byRank, hitAddress)),
  ].flat();
}
