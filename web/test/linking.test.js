// SPDX-License-Identifier: Apache-2.0
// Linked scrolling goes along the matches, not along the slice numbers.
import test from "node:test";
import assert from "node:assert/strict";
import { Linking } from "../src/linking.js";

const linking = new Linking([
  [4, 90, 0.9],
  [5, 90, 0.95],
  [6, 80, 0.7],
  [8, 70, 0.8],
]);

test("a slice of the query leads to its match", () => {
  assert.equal(linking.of(6)[1], 80);
  assert.equal(linking.of(7), undefined);
});

test("a slice of the hit leads to the nearest match, the most similar of equals", () => {
  assert.equal(linking.queryFor(90), 5);
  assert.equal(linking.queryFor(200), 5);
  assert.equal(linking.queryFor(0), 8);
  assert.equal(linking.queryFor(75), 8, "80 and 70 are equally near; 70 is more similar");
  assert.equal(new Linking([]).queryFor(3), null);
});

test("strips show similarities where they belong", () => {
  assert.deepEqual(linking.range(), [0.7, 0.95]);
  const query = linking.ofQuery(10);
  assert.equal(query[5], 0.95);
  assert.equal(query[7], undefined);
  const hit = linking.ofHit(100);
  assert.equal(hit[90], 0.95, "the best of two that found it");
  assert.equal(hit[71], undefined);
});
