// SPDX-License-Identifier: Apache-2.0
// The part of the address behind '#' restores a view exactly, and survives being edited by hand.
import test from "node:test";
import assert from "node:assert/strict";
import { formatView, openVolume, parseView, searchBody } from "../src/view.js";

const full = {
  ...openVolume("1.2.840/ä?&#%", "up1"),
  slices: [3, 17],
  box: { rows: [10, 99], columns: [0, 5] },
  score: "ordered",
  exclude: "patient",
  limit: 25,
  neighbours: 12,
  where: "Modality = 'CT' and organ = 'O''Brien & co'",
  contrast: "cancer_flag=1",
  searched: true,
  hit: "a b/c",
  slice: 0,
  hitSlice: 41,
  window: { centre: -600, width: 1500.5 },
  linked: false,
  solid: true,
  tab: "evidence",
};

test("a view comes back from its address", () => {
  assert.deepEqual(parseView(formatView(full)), full);
  const plain = openVolume("phantom_001");
  assert.equal(formatView(plain), "#/volumes/phantom_001");
  assert.deepEqual(parseView(formatView(plain)), plain);
  const archive = { screen: "archive", where: "Slices > 4", text: "a&b", page: 3 };
  assert.deepEqual(parseView(formatView(archive)), archive);
});

test("nonsense in an address becomes a default", () => {
  for (const hash of ["", "#", "#/", "#/nowhere/x", "#/volumes/%E0%A4%A", "#/volumes/a/b"])
    assert.equal(parseView(hash).screen, "archive", hash);
  const view = parseView(
    "#/volumes/x?slices=9-3&box=1-2&limit=1e9&centre=NaN&width=0&score=<b>&exclude=all&tab=x&slice=-1",
  );
  assert.deepEqual(view, openVolume("x"));
});

test("a search asks for what the view says and no more", () => {
  const plain = searchBody(openVolume("v"), 50);
  assert.deepEqual(plain, {
    Query: { VolumeId: "v", UploadId: null },
    Score: "maxsim",
    Limit: 10,
    Exclude: "volume",
    Neighbours: 10,
  });
  assert.deepEqual(searchBody({ ...openVolume("v"), slices: [2, 4] }, 50).Query.Slices, [2, 4]);
  assert.equal("Slices" in searchBody({ ...openVolume("v"), slices: [0, 49] }, 50).Query, false);
  const boxed = searchBody(full, 50);
  assert.deepEqual(boxed.Query, {
    VolumeId: full.volume,
    UploadId: "up1",
    Box: { Rows: [10, 99], Columns: [0, 5], Slices: [3, 17] },
  });
  assert.equal(boxed.Where, full.where);
  assert.equal(boxed.Contrast, "cancer_flag=1");
});
