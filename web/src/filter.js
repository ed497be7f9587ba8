// SPDX-License-Identifier: Apache-2.0
// filter.js: the fields by which volumes are chosen before they are ranked or listed.

import { h, field, select } from "./dom.js";
import { parseWhere, formatWhere, text } from "./where.js";

/** labels: as GET /labels gives them.  onChange(expression) when the reader leaves a field. */
export class Filter {
  constructor(labels, onChange) {
    this.onChange = onChange;
    const changed = () => onChange(this.value);
    const input = (properties) => h("input", { onchange: changed, ...properties });
    const age = { type: "number", min: 0, max: 150, inputmode: "numeric" };
    const year = { type: "number", min: 1900, max: 2100, inputmode: "numeric" };
    this.fields = {
      modality: select(
        [
          ["", "any"],
          ["CT", "CT"],
          ["MR", "MR"],
        ],
        "",
        changed,
      ),
      sex: select(
        [
          ["", "any"],
          ["F", "female"],
          ["M", "male"],
          ["O", "other"],
        ],
        "",
        changed,
      ),
      body: input({ type: "text", placeholder: "any", maxlength: 64 }),
      ageFrom: input(age),
      ageTo: input(age),
      yearFrom: input(year),
      yearTo: input(year),
    };
    this.rest = h("input", {
      type: "text",
      onchange: changed,
      spellcheck: "false",
      autocapitalize: "off",
      maxlength: 1000,
      placeholder: "cancer_flag = 1 and Slices > 40",
    });
    const f = this.fields;
    const fromTo = (name, from, to) =>
      h(
        "fieldset",
        { class: "fromto" },
        h("legend", {}, name),
        h("label", {}, h("span", { class: "sr" }, `${name} from`), from),
        h("span", { "aria-hidden": "true" }, "to"),
        h("label", {}, h("span", { class: "sr" }, `${name} to`), to),
      );
    this.element = h(
      "div",
      { class: "filter" },
      field("Modality", f.modality),
      field("Sex", f.sex),
      field("Body part", f.body),
      fromTo("Age", f.ageFrom, f.ageTo),
      fromTo("Study year", f.yearFrom, f.yearTo),
      labels.length ? this.#labelClause(labels) : null,
      field("Condition", this.rest, { class: "field wide" }),
    );
  }

  /** Adds "label = value" to the condition: nobody knows by heart what labels an archive has. */
  #labelClause(labels) {
    const options = labels.flatMap(({ Name, Values }) =>
      Values.slice(0, 12).map((v) => [JSON.stringify([Name, v]), `${Name} = ${v}`]),
    );
    const choose = select([["", "add a label…"], ...options], "", (key) => {
      if (!key) return;
      const [name, value] = JSON.parse(key);
      const plain = /^[A-Za-z_]\w*$/.test(name) ? name : `"${name}"`;
      const clause = `${plain} = ${/^-?\d+(\.\d+)?$/.test(value) ? value : text(value)}`;
      this.rest.value = this.rest.value.trim() ? `${this.rest.value.trim()} and ${clause}` : clause;
      choose.value = "";
      this.onChange(this.value);
    });
    return field("Label", choose);
  }

  get value() {
    const fields = Object.fromEntries(
      Object.entries(this.fields).map(([k, e]) => [k, e.value.trim()]),
    );
    return formatWhere({ fields, rest: this.rest.value });
  }

  set value(expression) {
    if (expression === this.value) return;
    const { fields, rest } = parseWhere(expression);
    // What a list of choices does not have stays in the condition.
    const kept = [rest];
    for (const [name, element] of Object.entries(this.fields)) {
      element.value = fields[name] ?? "";
      if (fields[name] && element.value !== fields[name])
        kept.push(formatWhere({ fields: { [name]: fields[name] }, rest: "" }));
    }
    this.rest.value = kept.filter(Boolean).join(" and ");
  }
}
