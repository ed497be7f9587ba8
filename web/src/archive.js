// SPDX-License-Identifier: Apache-2.0
// archive.js: what is in the archive, to pick a query from; and the place to drop one.

import { h, button, toast } from "./dom.js";
import { get, query, remove, send, url, volumePath } from "./api.js";
import { facts } from "./format.js";
import { formatView, openVolume } from "./view.js";
import { beginsWith, both } from "./where.js";
import { Filter } from "./filter.js";
import { addFiles, fileInput, uploadQuery } from "./upload.js";

const PAGE = 48;

export class ArchiveScreen {
  #request = null;

  constructor(app) {
    this.app = app;
    this.search = h("input", {
      type: "search",
      placeholder: "Volume, patient, description or body part begins with…",
      "aria-label": "Find volumes",
      maxlength: 200,
      spellcheck: "false",
      id: "find",
    });
    let timer;
    this.search.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.#change({ text: this.search.value.trim(), page: 1 }), 200);
    });
    this.filter = new Filter(app.labels, (where) => this.#change({ where, page: 1 }));
    this.grid = h("ul", { class: "volumes", "aria-label": "Volumes" });
    this.count = h("p", { class: "soft", role: "status" });
    this.pages = h("nav", { class: "pages", "aria-label": "Pages" });
    this.element = h(
      "main",
      { class: "archive", id: "main", tabindex: -1 },
      h(
        "aside",
        { "aria-label": "Query and filters" },
        this.#dropZone(),
        h("h2", {}, "Only volumes with"),
        this.filter.element,
        this.#maintenance(),
      ),
      h(
        "section",
        { "aria-label": "Archive" },
        h("header", {}, h("h1", {}, "Archive"), this.search, this.count),
        this.grid,
        this.pages,
      ),
    );
  }

  #dropZone() {
    const files = fileInput({ multiple: true }, (f) => uploadQuery(this.app, f));
    const folder = fileInput({ webkitdirectory: true }, (f) => uploadQuery(this.app, f));
    files.input.id = "query-files";
    return h(
      "div",
      { class: "drop" },
      h("h2", {}, "A new scan"),
      h(
        "p",
        {},
        "Drop DICOM or NIfTI files here, or a folder, to search with a scan that is not in the archive. It is not added.",
      ),
      h(
        "div",
        { class: "row" },
        button("Choose files", files.open, { class: "primary" }),
        button("Choose a folder", folder.open),
      ),
      files.input,
      folder.input,
    );
  }

  /** What only some may do; absent for others. */
  #maintenance() {
    if (!this.app.may("contributor")) return null;
    const add = fileInput({ multiple: true }, async (files) => {
      await addFiles(this.app, files);
      this.show(this.view);
    });
    const labels = fileInput(
      { accept: ".csv,text/csv" },
      (files) => files[0] && this.#importLabels(files[0]),
    );
    return h(
      "div",
      { class: "maintain" },
      h("h2", {}, "Archive"),
      h(
        "div",
        { class: "row" },
        button("Add scans", add.open),
        button("Import labels", labels.open),
      ),
      add.input,
      labels.input,
    );
  }

  async #importLabels(file) {
    try {
      const response = await send("POST", "labels", {
        body: await file.text(),
        headers: { "Content-Type": "text/csv" },
      });
      const { Labelled, Unknown } = await response.json();
      toast(
        `${Labelled} volumes labelled` +
          (Unknown?.length ? `; ${Unknown.length} rows are of no volume here` : ""),
      );
      await this.app.reload();
    } catch (error) {
      toast(error.message, "error");
    }
  }

  #change(part) {
    this.app.go(
      { ...this.view, ...part },
      { push: "page" in part && !("text" in part) && !("where" in part) },
    );
  }

  async show(view) {
    this.view = view;
    document.title = "Archive · cmir";
    if (document.activeElement !== this.search) this.search.value = view.text;
    this.filter.value = view.where;
    this.#request?.abort();
    const request = new AbortController();
    this.#request = request;
    const where = both(view.text && beginsWith(view.text), view.where);
    const offset = (view.page - 1) * PAGE;
    try {
      const answer = await get(`volumes${query({ where, offset, limit: PAGE })}`, {
        signal: request.signal,
      });
      this.#list(answer, view);
    } catch (error) {
      if (error.name === "AbortError") return;
      this.count.textContent = "";
      this.pages.replaceChildren();
      this.grid.replaceChildren(
        h(
          "li",
          { class: "failed", role: "alert" },
          h("h3", {}, "The list could not be had"),
          h("p", {}, error.message),
          button("Try again", () => this.show(this.view)),
        ),
      );
    }
  }

  #list({ Total, Offset, Volumes }, view) {
    const to = Offset + Volumes.length;
    this.count.textContent = Total ? `${Offset + 1}–${to} of ${Total}` : "";
    this.grid.replaceChildren(...Volumes.map((v) => this.#card(v)));
    if (!Total) this.grid.replaceChildren(this.#empty(view));
    const pages = Math.ceil(Total / PAGE);
    const link = (page, text) =>
      page >= 1 && page <= pages
        ? h("a", { class: "button", href: formatView({ ...view, page }) }, text)
        : h("span", { class: "button off" }, text);
    this.pages.replaceChildren(
      ...(pages > 1
        ? [
            link(view.page - 1, "‹ Previous"),
            h("span", { class: "soft" }, `page ${view.page} of ${pages}`),
            link(view.page + 1, "Next ›"),
          ]
        : []),
    );
  }

  #empty(view) {
    if (view.text || view.where)
      return h(
        "li",
        { class: "nothing" },
        h("h3", {}, "No volume passes"),
        h("p", {}, "Loosen the filter."),
        button("Show all", () => this.#change({ text: "", where: "", page: 1 })),
      );
    return h(
      "li",
      { class: "nothing" },
      h("h3", {}, "The archive is empty"),
      h(
        "p",
        {},
        "Add scans from the command line, ",
        h("code", {}, "cmir add ARCHIVE /data/ct"),
        this.app.may("contributor") ? ", or with “Add scans”." : ".",
      ),
    );
  }

  #card(volume) {
    const labels = Object.entries(volume.Labels ?? {}).slice(0, 3);
    const card = h(
      "li",
      {},
      h(
        "a",
        { href: formatView(openVolume(volume.VolumeId)) },
        h("img", {
          src: `${url(volumePath(volume.VolumeId))}/thumbnail.png`,
          alt: "",
          width: 112,
          height: 112,
          loading: "lazy",
          decoding: "async",
          onerror: (e) => e.target.classList.add("missing"),
        }),
        h(
          "div",
          { class: "what" },
          h("p", { class: "name" }, h("b", { title: volume.VolumeId }, volume.VolumeId)),
          h("p", { class: "facts" }, facts(volume).join(" · ")),
          h(
            "p",
            { class: "soft" },
            `${volume.Slices} slices`,
            volume.SliceSpacing ? `, every ${volume.SliceSpacing.toFixed(1)} mm` : "",
          ),
          h(
            "ul",
            { class: "labels" },
            labels.map(([name, value]) =>
              h(
                "li",
                { title: `${name}: ${value}` },
                h("span", { class: "soft" }, name),
                " ",
                value,
              ),
            ),
          ),
        ),
      ),
    );
    if (this.app.may("admin"))
      card.append(
        button("✕", () => this.#remove(volume), {
          class: "quiet icon remove",
          "aria-label": `Remove ${volume.VolumeId} from the archive`,
          title: "Remove from the archive",
        }),
      );
    return card;
  }

  async #remove(volume) {
    if (
      !confirm(
        `Remove ${volume.VolumeId} from the archive? Its embeddings and labels go; its files stay where they are.`,
      )
    )
      return;
    try {
      await remove(volumePath(volume.VolumeId));
      toast(`${volume.VolumeId} removed.`);
      this.show(this.view);
    } catch (error) {
      toast(error.message, "error");
    }
  }

  close() {
    this.#request?.abort();
  }
}
