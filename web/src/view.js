// SPDX-License-Identifier: Apache-2.0
// view.js: what is on the screen, as the part of the address behind '#'.  Whoever opens the address sees
// the same: the query, its slices or box, the options, the hit, both slices and the window.
//
// #/                          the archive          #/?where=...&text=...&page=2
// #/volumes/ID?...            a query of the archive
// #/uploads/UPLOAD/ID?...     a query that was uploaded

/** Options of a search and what they are where nothing is said. */
export const DEFAULTS = {
  score: "maxsim",
  exclude: "volume",
  limit: 10,
  neighbours: 10,
  where: "",
  contrast: "",
};

const pair = (text) => {
  const match = /^(\d+)-(\d+)$/.exec(text ?? "");
  return match && Number(match[1]) <= Number(match[2])
    ? [Number(match[1]), Number(match[2])]
    : null;
};

const whole = (text, least, most) =>
  /^\d+$/.test(text ?? "") && Number(text) >= least && Number(text) <= most ? Number(text) : null;

const real = (text) =>
  text !== null && text !== "" && Number.isFinite(Number(text)) ? Number(text) : null;

function parseBox(text) {
  const parts = (text ?? "").split(",").map(pair);
  return parts.length === 2 && parts.every(Boolean) ? { rows: parts[0], columns: parts[1] } : null;
}

function parseCase(p) {
  const centre = real(p.get("centre"));
  const width = real(p.get("width"));
  return {
    slices: pair(p.get("slices")),
    box: parseBox(p.get("box")),
    score: /^[a-z-]+$/.test(p.get("score") ?? "") ? p.get("score") : DEFAULTS.score,
    exclude: ["volume", "study", "patient", "none"].includes(p.get("exclude"))
      ? p.get("exclude")
      : DEFAULTS.exclude,
    limit: whole(p.get("limit"), 1, 1000) ?? DEFAULTS.limit,
    neighbours: whole(p.get("neighbours"), 5, 1000) ?? DEFAULTS.neighbours,
    where: p.get("where") ?? "",
    contrast: p.get("contrast") ?? "",
    searched: p.get("search") === "1",
    hit: p.get("hit"),
    slice: whole(p.get("slice"), 0, 1e6),
    hitSlice: whole(p.get("hitslice"), 0, 1e6),
    window: centre !== null && width > 0 ? { centre, width } : null,
    linked: p.get("linked") !== "0",
    solid: p.get("solid") === "1",
    tab: p.get("tab") === "evidence" ? "evidence" : "hits",
  };
}

export function parseView(hash) {
  const [path, search = ""] = hash.replace(/^#/, "").split("?");
  const p = new URLSearchParams(search);
  let parts;
  try {
    parts = path.split("/").filter(Boolean).map(decodeURIComponent);
  } catch {
    parts = [];
  }
  if (parts[0] === "volumes" && parts.length === 2)
    return { screen: "case", upload: null, volume: parts[1], ...parseCase(p) };
  if (parts[0] === "uploads" && parts.length === 3)
    return { screen: "case", upload: parts[1], volume: parts[2], ...parseCase(p) };
  return {
    screen: "archive",
    where: p.get("where") ?? "",
    text: p.get("text") ?? "",
    page: whole(p.get("page"), 1, 1e6) ?? 1,
  };
}

export function formatView(view) {
  const p = new URLSearchParams();
  const put = (name, value, otherwise) => {
    if (value !== null && value !== undefined && value !== otherwise && value !== "")
      p.set(name, String(value));
  };
  if (view.screen === "archive") {
    put("text", view.text);
    put("where", view.where);
    put("page", view.page, 1);
    return "#/" + (p.size ? `?${p}` : "");
  }
  put("slices", view.slices?.join("-"));
  put("box", view.box && `${view.box.rows.join("-")},${view.box.columns.join("-")}`);
  for (const name of Object.keys(DEFAULTS)) put(name, view[name], DEFAULTS[name]);
  put("search", view.searched ? 1 : null);
  put("hit", view.hit);
  put("slice", view.slice);
  put("hitslice", view.hitSlice);
  put("centre", view.window?.centre);
  put("width", view.window?.width);
  put("linked", view.linked === false ? 0 : null);
  put("solid", view.solid ? 1 : null);
  put("tab", view.tab, "hits");
  const id = encodeURIComponent(view.volume);
  const path = view.upload
    ? `#/uploads/${encodeURIComponent(view.upload)}/${id}`
    : `#/volumes/${id}`;
  return path + (p.size ? `?${p}` : "");
}

/** A fresh look at a volume, with the options of the view before. */
export function openVolume(volume, upload = null, options = {}) {
  const kept = Object.fromEntries(Object.keys(DEFAULTS).map((n) => [n, options[n] ?? DEFAULTS[n]]));
  return {
    screen: "case",
    upload,
    volume,
    slices: null,
    box: null,
    ...kept,
    searched: false,
    hit: null,
    slice: null,
    hitSlice: null,
    window: null,
    linked: true,
    solid: false,
    tab: "hits",
  };
}

/** The body of POST /search, of a view and the number of slices of its volume. */
export function searchBody(view, nSlices) {
  const query = { VolumeId: view.volume, UploadId: view.upload };
  const slices = view.slices ?? [0, nSlices - 1];
  const whole = slices[0] === 0 && slices[1] === nSlices - 1;
  if (view.box) query.Box = { Rows: view.box.rows, Columns: view.box.columns, Slices: slices };
  else if (!whole) query.Slices = slices;
  const body = {
    Query: query,
    Score: view.score,
    Limit: view.limit,
    Exclude: view.exclude,
    Neighbours: view.neighbours,
  };
  if (view.where) body.Where = view.where;
  if (view.contrast) body.Contrast = view.contrast;
  return body;
}
