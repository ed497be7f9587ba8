// SPDX-License-Identifier: Apache-2.0
// Figures as a reader sees them, and tables that spreadsheets take as text.
import test from "node:test";
import assert from "node:assert/strict";
import { calibration, csv, facts } from "../src/format.js";

test("no cell becomes a formula", () => {
  assert.equal(
    csv([["=1+1", "-1.5", "a,b", 'q"', "+x", "@y", null]]),
    '\'=1+1,-1.5,"a,b","q""",\'+x,\'@y,\r\n',
  );
});

test("facts leave out what is not known", () => {
  assert.deepEqual(
    facts({
      Modality: "CT",
      PatientAge: 61.9,
      PatientSex: "F",
      StudyDate: "20190203",
      BodyPartExamined: "",
    }),
    ["CT", "61 y", "female", "2019"],
  );
  assert.deepEqual(facts({ Modality: "MR", PatientAge: null, PatientSex: "", StudyDate: "" }), [
    "MR",
  ]);
});

test("a calibration is said with its limits", () => {
  assert.match(calibration(null), /not known/);
  const c = {
    Kind: "class",
    Queries: 20,
    Right: 15,
    Rate: 0.75,
    RateInterval: [0.53, 0.89],
    Patients: 20,
    RightByMajority: 11,
    Stale: true,
    SameSearch: false,
  };
  assert.match(
    calibration(c),
    /15 of 20 \(75 %, 53 % to 89 %; 20 patients\); always the commonest value: 11; measured before the archive changed; for searches unlike this one\.$/,
  );
  assert.match(calibration({ ...c, Queries: 0 }), /Too few/);
});
