// SPDX-License-Identifier: Apache-2.0
// Millimetres and boxes, on pixels that are not square.
import test from "node:test";
import assert from "node:assert/strict";
import { boxOf, cornersOf, distanceMm, extent, place, toSlice, toView } from "../src/geometry.js";

const volume = { Rows: 100, Columns: 200, RowSpacingMm: 2, ColumnSpacingMm: 0.5 };

test("a distance is in millimetres, whatever the shape of the pixels and the zoom", () => {
  const mm = extent(volume);
  assert.deepEqual(mm, { width: 100, height: 200 });
  assert.equal(distanceMm(mm, [0, 0], [1, 0]), 100);
  assert.equal(distanceMm(mm, [0.5, 0], [0.5, 0.5]), 100);
  for (const zoom of [1, 3]) {
    const at = place(mm, { width: 400, height: 300 }, zoom, [7, -9]);
    const a = toSlice(at, [190, 140]);
    const b = toSlice(at, [190 + 30 * at.pxPerMm, 140]);
    assert.ok(Math.abs(distanceMm(mm, a, b) - 30) < 1e-9);
    const back = toView(at, a);
    assert.ok(Math.hypot(back[0] - 190, back[1] - 140) < 1e-9);
  }
});

test("a box has the rows and columns that it touches, never none, never outside", () => {
  assert.deepEqual(boxOf(volume, [0, 0], [1, 1]), { rows: [0, 99], columns: [0, 199] });
  assert.deepEqual(boxOf(volume, [0.5, 0.25], [0.25, 0.5]), { rows: [25, 49], columns: [50, 99] });
  assert.deepEqual(boxOf(volume, [1, 1], [1, 1]), { rows: [99, 99], columns: [199, 199] });
  const box = { rows: [25, 49], columns: [50, 99] };
  assert.deepEqual(boxOf(volume, ...cornersOf(volume, box)), box);
});
