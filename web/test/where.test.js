// SPDX-License-Identifier: Apache-2.0
// Fields and expression say the same; nothing that a reader typed is lost.
import test from "node:test";
import assert from "node:assert/strict";
import { beginsWith, both, clausesOf, formatWhere, parseWhere } from "../src/where.js";

test("fields come back from the expression that they wrote", () => {
  const fields = {
    modality: "CT",
    sex: "F",
    body: "O'Brien's and co",
    ageFrom: "40",
    ageTo: "60",
    yearFrom: "2019",
    yearTo: "2021",
  };
  const written = formatWhere({ fields, rest: "stage >= 3" });
  assert.match(written, /PatientAge < 61/, "60 years and 11 months is 60");
  assert.deepEqual(parseWhere(written), { fields, rest: "stage >= 3" });
});

test("what fields cannot show stays in the condition", () => {
  for (const expression of [
    "Modality = 'CT' or Modality = 'MR'",
    "not organ = 'a and b'",
    "(Modality = 'CT' and Slices > 4)",
    "Modality != 'CT'",
  ])
    assert.deepEqual(parseWhere(expression), { fields: {}, rest: expression });
  assert.deepEqual(parseWhere("Modality = 'CT' and Modality = 'MR'"), {
    fields: { modality: "CT" },
    rest: "Modality = 'MR'",
  });
});

test("an 'or' among clauses gets parentheses", () => {
  assert.equal(
    formatWhere({ fields: { sex: "F" }, rest: "a = 1 or b = 2" }),
    "PatientSex = 'F' and (a = 1 or b = 2)",
  );
  assert.deepEqual(clausesOf("x = 'a and b' and (c = 1 and d = 2) AND e = 3"), [
    "x = 'a and b'",
    "(c = 1 and d = 2)",
    "e = 3",
  ]);
  assert.equal(both("a = 1", ""), "a = 1");
  assert.equal(both("a = 1", "b = 2"), "(a = 1) and (b = 2)");
});

test("quotes in what is looked for stay inside the text", () => {
  assert.match(beginsWith("O'B"), /VolumeId >= 'O''B'/);
});
