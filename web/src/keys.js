// SPDX-License-Identifier: Apache-2.0
// keys.js: the keyboard.  Letters work wherever the focus is, but in fields; so do the arrows, but where a
// control has its own use for them.

import { h, dialog } from "./dom.js";

/** Keys of a case: [keys, what they do, function of the screen]. */
const CASE = [
  [["ArrowDown", "j"], "next slice", (s) => s.move(1)],
  [["ArrowUp", "k"], "previous slice", (s) => s.move(-1)],
  [["PageDown"], "ten slices on", (s) => s.move(10)],
  [["PageUp"], "ten slices back", (s) => s.move(-10)],
  [["Home"], "first slice", (s) => s.move(-1e6)],
  [["End"], "last slice", (s) => s.move(1e6)],
  [["["], "search from this slice", (s) => s.setRangeEnd(0)],
  [["]"], "search up to this slice", (s) => s.setRangeEnd(1)],
  [["x"], "search with the whole scan", (s) => s.change({ slices: null, box: null })],
  [["Enter"], "search", (s) => s.search()],
  [["n"], "next hit", (s) => s.nextHit(1)],
  [["p"], "previous hit", (s) => s.nextHit(-1)],
  [["Escape"], "close the hit", (s) => s.closeHit()],
  [["r"], "hit is relevant", (s) => s.view.hit && s.relevance.toggle(true)],
  [["i"], "hit is not relevant", (s) => s.view.hit && s.relevance.toggle(false)],
  [
    ["e"],
    "hits or evidence",
    (s) => s.change({ tab: s.view.tab === "hits" ? "evidence" : "hits" }),
  ],
  [["l"], "link or unlink the two", (s) => s.change({ linked: !s.view.linked })],
  [["v"], "tool: scroll", (s) => s.setTool("scroll")],
  [["w"], "tool: window", (s) => s.setTool("window")],
  [["m"], "tool: measure", (s) => s.setTool("measure")],
  [["b"], "tool: box", (s) => s.setTool("box")],
  [["d"], "3-D", (s) => s.change({ solid: !s.view.solid })],
  [["0"], "the volume's own window", (s) => s.change({ window: null })],
];

const NAMES = { ArrowDown: "↓", ArrowUp: "↑", Escape: "Esc", PageDown: "Page ↓", PageUp: "Page ↑" };

function preset(screen, key) {
  const w = screen.app.system.Windows?.[Number(key) - 1];
  if (w) screen.change({ window: { centre: w.Centre, width: w.Width } });
  return Boolean(w);
}

/** True where the focused element wants the key itself. */
function taken(event) {
  const at = event.target;
  if (document.querySelector("dialog[open], :popover-open")) return true;
  if (at.matches("input, textarea, select, [contenteditable]"))
    return event.key !== "Escape" || !at.matches("input");
  if (event.key === "Enter") return at.matches("button, a, summary, [role=tab]");
  if (/^(Arrow|Page|Home|End)/.test(event.key))
    return at.matches("[role=tab], .handle") || Boolean(at.closest(".panel"));
  return false;
}

export function listen(app) {
  window.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || taken(event)) return;
    if (event.key === "?") return void help();
    if (event.key === "/" && document.getElementById("find")) {
      event.preventDefault();
      document.getElementById("find").focus();
      return;
    }
    const screen = app.case;
    if (!screen?.volume) return;
    if (event.target.matches("input")) event.target.blur();
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const row = CASE.find(([keys]) => keys.includes(key));
    if (row) {
      event.preventDefault();
      row[2](screen);
    } else if (/^[1-9]$/.test(key) && preset(screen, key)) event.preventDefault();
  });
}

export function help() {
  const line = (keys, what) => [
    h(
      "dt",
      {},
      keys.map((k) => h("kbd", {}, NAMES[k] ?? k)),
    ),
    h("dd", {}, what),
  ];
  return dialog("Keyboard and mouse", () => [
    h(
      "dl",
      { class: "keys" },
      CASE.map(([keys, what]) => line(keys, what)),
      line(["1", "…", "9"], "windows, in the order of the buttons"),
      line(["/"], "find volumes (archive)"),
      line(["?"], "this help"),
    ),
    h(
      "p",
      { class: "soft" },
      "Arrows move the viewer at which the pointer or the focus was last. Wheel: slices; with Ctrl, or two fingers: zoom; middle button: pan; right button: window; double click: as a whole.",
    ),
    h(
      "p",
      {},
      h(
        "a",
        { href: "/licences.txt", target: "_blank", rel: "noopener" },
        "Licences of what the page is made of",
      ),
    ),
  ]);
}
