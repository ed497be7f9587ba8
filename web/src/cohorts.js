// SPDX-License-Identifier: Apache-2.0
// cohorts.js: named sets of volumes: saving one, and the list of those that there are.

import { h, button, dialog, field, toast } from "./dom.js";
import { get, post, remove, url } from "./api.js";

const MANY = 200; // characters of a name

/** Asks which hits to keep under which name, and keeps them. */
export async function saveCohort(result, relevance, query) {
  const relevant = result.Matches.filter((m) => relevance.get(m.VolumeId) === true);
  const kept = await dialog("Save as cohort", (close) => {
    const name = h("input", { type: "text", required: true, maxlength: MANY, autofocus: true });
    const note = h("textarea", { rows: 3, maxlength: 4000 });
    const boxes = result.Matches.map((m) => {
      const said = relevance.get(m.VolumeId);
      const checked = relevant.length ? said === true : said !== false;
      const box = h("input", { type: "checkbox", checked, value: m.VolumeId });
      return h(
        "li",
        {},
        h("label", {}, box, h("span", { class: "rank" }, m.Rank), ` ${m.VolumeId}`),
      );
    });
    const form = h(
      "form",
      {
        onsubmit: (event) => {
          event.preventDefault();
          const Volumes = [...form.querySelectorAll("input:checked")].map((b) => b.value);
          if (Volumes.length) close({ Name: name.value.trim(), Note: note.value, Volumes });
          else toast("Choose at least one volume.", "error");
        },
      },
      field("Name", name),
      field("Note", note),
      h(
        "fieldset",
        {},
        h("legend", {}, relevant.length ? "Volumes: those marked relevant are chosen" : "Volumes"),
        h("ol", { class: "choose" }, boxes),
      ),
      h(
        "footer",
        {},
        button("Cancel", () => close()),
        h("button", { type: "submit", class: "primary" }, "Save"),
      ),
    );
    return form;
  });
  if (!kept) return;
  await post("cohorts", { ...kept, Query: query });
  toast(`Cohort “${kept.Name}” saved: ${kept.Volumes.length} volumes.`);
}

function row(cohort, list) {
  const path = `cohorts/${encodeURIComponent(cohort.CohortId)}`;
  const n = Array.isArray(cohort.Volumes) ? cohort.Volumes.length : cohort.Volumes;
  const item = h(
    "li",
    {},
    h(
      "div",
      {},
      h("b", {}, cohort.Name),
      h(
        "p",
        { class: "soft" },
        `${n} volumes`,
        cohort.Created ? ` · ${cohort.Created.slice(0, 10)}` : "",
        cohort.User ? ` · ${cohort.User}` : "",
      ),
      cohort.Note ? h("p", {}, cohort.Note) : null,
    ),
    h("a", { class: "button", href: url(`${path}.csv`), download: "" }, "CSV"),
    h("a", { class: "button", href: url(`${path}.json`), download: "" }, "JSON"),
    button(
      "Delete",
      async () => {
        if (!confirm(`Delete the cohort “${cohort.Name}”? Its volumes stay in the archive.`))
          return;
        try {
          await remove(path);
          item.remove();
          if (!list.children.length) list.replaceWith(empty());
        } catch (error) {
          toast(error.message, "error");
        }
      },
      { class: "quiet", "aria-label": `Delete ${cohort.Name}` },
    ),
  );
  return item;
}

const empty = () =>
  h("p", { class: "nothing" }, "No cohorts yet. Save one from the hits of a search.");

export async function showCohorts() {
  const { Cohorts } = await get("cohorts");
  await dialog("Cohorts", () => {
    if (!Cohorts.length) return empty();
    const list = h("ul", { class: "cohorts" });
    list.append(...Cohorts.map((c) => row(c, list)));
    return list;
  });
}
