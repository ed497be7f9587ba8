// SPDX-License-Identifier: Apache-2.0
// geometry.js: where things are on a picture.  A picture shows the whole slice with square pixels, so that
// fractions of its width and height are fractions of the slice's extent in millimetres.

export const extent = (volume) => ({
  width: volume.Columns * volume.ColumnSpacingMm,
  height: volume.Rows * volume.RowSpacingMm,
});

/** Letters of the patient's directions on the four sides of a picture: [left, right, top, bottom]. */
export const LETTERS = {
  axial: ["R", "L", "A", "P"],
  coronal: ["R", "L", "S", "I"],
  sagittal: ["A", "P", "S", "I"],
};

/** How a slice of this extent lies in a view of width x height: zoom 1 fits it; pan in view pixels. */
export function place({ width, height }, view, zoom = 1, pan = [0, 0]) {
  const scale = zoom * Math.min(view.width / width, view.height / height);
  const size = [width * scale, height * scale];
  return {
    left: (view.width - size[0]) / 2 + pan[0],
    top: (view.height - size[1]) / 2 + pan[1],
    width: size[0],
    height: size[1],
    pxPerMm: scale,
  };
}

const within = (x) => Math.min(1, Math.max(0, x));

/** A point of the view as fractions of the slice. */
export const toSlice = (at, [x, y]) => [
  within((x - at.left) / at.width),
  within((y - at.top) / at.height),
];
export const toView = (at, [fx, fy]) => [at.left + fx * at.width, at.top + fy * at.height];

/** Millimetres between two points given as fractions of the slice. */
export function distanceMm({ width, height }, a, b) {
  return Math.hypot((a[0] - b[0]) * width, (a[1] - b[1]) * height);
}

const span = (a, b, n) => {
  const low = Math.min(n - 1, Math.floor(Math.min(a, b) * n));
  const high = Math.min(n - 1, Math.max(low, Math.ceil(Math.max(a, b) * n) - 1));
  return [low, high];
};

/** Two corners as fractions -> rows and columns, both ends included. */
export function boxOf(volume, a, b) {
  return { rows: span(a[1], b[1], volume.Rows), columns: span(a[0], b[0], volume.Columns) };
}

export function cornersOf(volume, box) {
  return [
    [box.columns[0] / volume.Columns, box.rows[0] / volume.Rows],
    [(box.columns[1] + 1) / volume.Columns, (box.rows[1] + 1) / volume.Rows],
  ];
}
