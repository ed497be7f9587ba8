// SPDX-License-Identifier: Apache-2.0
// exports.js: what can be taken away of a search: the result as the service gave it, its hits as a table, a
// report with pictures.

import { h, button, dialog, save } from "./dom.js";
import { postAndWait, ApiError } from "./api.js";
import { csv } from "./format.js";

const fileName = (result, end) =>
  `similar-to-${result.Query.VolumeId.replace(/[^\w.-]+/g, "_")}.${end}`;

export function saveJson(result) {
  save(fileName(result, "json"), "application/json", JSON.stringify(result, null, 1) + "\n");
}

export function hitsTable(result, relevance) {
  const labels = [...new Set(result.Matches.flatMap((m) => Object.keys(m.Labels ?? {})))].sort();
  const head = [
    "Rank",
    "VolumeId",
    "Score",
    "PatientId",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "QueryFirst",
    "QueryLast",
    "MatchFirst",
    "MatchLast",
    "MatchFirstMm",
    "MatchLastMm",
    "Relevant",
    ...labels,
  ];
  const rows = result.Matches.map((m) => [
    m.Rank,
    m.VolumeId,
    m.Score,
    m.PatientId,
    m.StudyInstanceUID,
    m.SeriesInstanceUID,
    ...m.QuerySlices,
    ...m.MatchSlices,
    ...(m.MatchMm ?? ["", ""]),
    relevance.get(m.VolumeId) ?? "",
    ...labels.map((l) => m.Labels?.[l]),
  ]);
  return csv([head, ...rows]);
}

export function saveCsv(result, relevance) {
  save(fileName(result, "csv"), "text/csv", hitsTable(result, relevance));
}

/** Has a report written and offers it: a window that opens by itself is blocked by browsers. */
export async function makeReport(body) {
  const control = new AbortController();
  await dialog("Report", (close) => {
    const bar = h("progress", { "aria-label": "Progress" });
    const text = h("p", { role: "status" }, "The report is being written…");
    const footer = h(
      "footer",
      {},
      button("Cancel", () => close()),
    );
    postAndWait("report", body, {
      signal: control.signal,
      onProgress({ Progress: p }) {
        if (!p?.Total) return;
        bar.max = p.Total;
        bar.value = p.Done;
      },
    }).then(
      ({ Report }) => {
        bar.remove();
        text.textContent =
          "The report is ready: one page with pictures of the query and the hits at their matching slices.";
        const link = h(
          "a",
          { class: "button primary", href: Report, download: "" },
          "Save the report",
        );
        footer.replaceChildren(
          button("Close", () => close()),
          link,
        );
        link.focus();
      },
      (error) => {
        if (error.name === "AbortError") return;
        bar.remove();
        text.className = "warning";
        text.textContent =
          error instanceof ApiError ? error.message : "The report could not be written.";
      },
    );
    return [text, bar, footer];
  });
  control.abort();
}

/** The menu behind "Export". */
export function exportMenu(on) {
  const menu = h(
    "div",
    { class: "menu", popover: "auto", id: "export-menu" },
    button("Hits as a table (CSV)", on.csv),
    button("Result with all matches (JSON)", on.json),
    button("Report with pictures", on.report),
  );
  menu.addEventListener("click", () => menu.hidePopover());
  const open = button("Export", () => {}, { popovertarget: "export-menu", class: "quiet" });
  menu.addEventListener("beforetoggle", (e) => {
    if (e.newState !== "open") return;
    const at = open.getBoundingClientRect();
    menu.style.left = `${Math.max(8, at.right - 230)}px`;
    menu.style.bottom = `${window.innerHeight - at.top + 6}px`;
  });
  return [open, menu];
}
