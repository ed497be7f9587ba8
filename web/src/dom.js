// SPDX-License-Identifier: Apache-2.0
// dom.js: makes elements.  The page has no framework: a part of it is a function or class that makes its
// elements once with h(), keeps them, and changes them.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(element.style, value);
    else if (name === "value" || name === "checked" || name === "disabled" || name === "hidden")
      element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(
    ...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false),
  );
  return element;
}

/** An element; properties are attributes, onX listeners, `style` an object. */
export function h(tag, properties, ...children) {
  return fill(document.createElement(tag), properties, children);
}

export function svg(tag, properties, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

/** A button that does something; `label` is what it is called where it shows an icon only. */
export function button(text, onclick, properties = {}) {
  return h("button", { type: "button", onclick, ...properties }, text);
}

let fields = 0;
/** A labelled form control. */
export function field(label, control, properties = {}) {
  control.id ||= `field-${++fields}`;
  return h(
    "div",
    { class: "field", ...properties },
    h("label", { for: control.id }, label),
    control,
  );
}

export function select(options, value, onchange, properties = {}) {
  const element = h(
    "select",
    { onchange: () => onchange(element.value), ...properties },
    options.map(([key, text]) => h("option", { value: key }, text)),
  );
  element.value = value;
  return element;
}

/** Says something to screen readers that a sighted user sees anyway. */
export function announce(text) {
  const live = document.getElementById("live");
  if (live) live.textContent = text;
}

let toastTimer;
/** A sentence at the bottom that goes by itself; errors stay longer and are read out at once. */
export function toast(text, kind = "info") {
  const place = document.getElementById("toast");
  if (!place) return;
  place.replaceChildren(h("p", { class: `toast ${kind}` }, text));
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => place.replaceChildren(), kind === "error" ? 9000 : 4000);
}

/** A modal dialog; resolves with what `close` was called with, undefined where it was dismissed. */
export function dialog(title, build, properties = {}) {
  return new Promise((resolve) => {
    let result;
    const close = (value) => {
      result = value;
      box.close();
    };
    const box = h(
      "dialog",
      { "aria-label": title, ...properties },
      h(
        "header",
        {},
        h("h2", {}, title),
        button("✕", () => close(), { class: "quiet icon", "aria-label": "Close" }),
      ),
    );
    box.append(...[build(close)].flat());
    box.addEventListener("close", () => {
      box.remove();
      resolve(result);
    });
    box.addEventListener("click", (event) => {
      if (event.target === box) close();
    });
    document.body.append(box);
    box.showModal();
  });
}

/** Saves text made here as a file. */
export function save(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
