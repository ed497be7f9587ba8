// SPDX-License-Identifier: Apache-2.0
// contrast.js: which slices of the query look like cases with a label and unlike cases without, as a curve
// with its interval.

import { h, svg } from "./dom.js";
import { mm } from "./format.js";

function drawing(curve, slices, onSlice) {
  const n = curve.length;
  const first = curve[0][0];
  const low = Math.min(0, ...curve.map((c) => c[2]));
  const high = Math.max(0, ...curve.map((c) => c[3]));
  const x = (slice) => slice - first + 0.5;
  const y = (value) => 100 * (1 - (value - low) / (high - low || 1));
  const line = (i) => curve.map((c) => `${x(c[0])} ${y(c[i]).toFixed(2)}`);
  return svg(
    "svg",
    {
      viewBox: `0 0 ${n} 100`,
      preserveAspectRatio: "none",
      class: "curve",
      "aria-hidden": "true",
      onclick: (e) => {
        const box = e.currentTarget.getBoundingClientRect();
        onSlice(first + Math.min(n - 1, Math.floor(((e.clientX - box.left) / box.width) * n)));
      },
    },
    svg("rect", {
      class: "run",
      x: slices[0] - first,
      y: 0,
      width: slices[1] - slices[0] + 1,
      height: 100,
    }),
    svg("path", { class: "between", d: `M${line(3).join("L")}L${line(2).reverse().join("L")}z` }),
    svg("path", { class: "zero", d: `M0 ${y(0)}H${n}` }),
    svg("path", { class: "line", d: `M${line(1).join("L")}` }),
  );
}

export function contrastSection(c, onSlice, onRange) {
  const name = c.Value === null ? `${c.Label} above 0` : `${c.Label} = ${c.Value}`;
  const counts = `${c.PositiveCases} cases with, ${c.NegativeCases} without`;
  if (!c.Enough)
    return h(
      "section",
      { class: "contrast" },
      h("h3", {}, `Contrast: ${name}`, h("small", {}, counts)),
      h(
        "p",
        { class: "notenough" },
        "Not enough evidence: at least 5 cases of both kinds are needed.",
      ),
    );
  const [a, b] = c.Slices;
  const where = c.Mm?.every(Number.isFinite) ? ` (${mm(c.Mm[0])} to ${mm(c.Mm[1])})` : "";
  return h(
    "section",
    { class: "contrast" },
    h("h3", {}, `Contrast: ${name}`, h("small", {}, counts)),
    drawing(c.Curve, c.Slices, onSlice),
    h(
      "p",
      {},
      "Slices ",
      h(
        "button",
        { type: "button", class: "link", onclick: () => onSlice(Math.round((a + b) / 2)) },
        `${a} to ${b}`,
      ),
      where,
      " of the query look most like the cases with it and least like those without. Begin between ",
      c.FirstInterval.join(" and "),
      ", end between ",
      c.LastInterval.join(" and "),
      " (95 %).",
    ),
    h(
      "p",
      { class: "soft" },
      `Rise ${c.Rise.toFixed(4)} (${c.RiseInterval.map((r) => r.toFixed(4)).join(" to ")}), p = ${c.P.toFixed(3)}: `,
      c.P < 0.05 ? "it stands out from chance." : "it does not stand out from chance.",
      " ",
      h(
        "button",
        { type: "button", class: "link", onclick: () => onRange([a, b]) },
        "Search with these slices",
      ),
    ),
  );
}
