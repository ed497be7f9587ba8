// SPDX-License-Identifier: Apache-2.0
// where.js: filters between form fields and the expression that the service takes ("Modality = 'CT' and
// PatientAge >= 40").  The expression is the truth; what the fields cannot show is kept in `rest`.

export const text = (value) => `'${String(value).replaceAll("'", "''")}'`;

const CLAUSES = [
  ["modality", /^Modality = '(\w+)'$/, (v) => `Modality = ${text(v)}`],
  ["sex", /^PatientSex = '(\w+)'$/, (v) => `PatientSex = ${text(v)}`],
  ["body", /^BodyPartExamined = '((?:[^']|'')+)'$/, (v) => `BodyPartExamined = ${text(v)}`],
  ["ageFrom", /^PatientAge >= (\d+)$/, (v) => `PatientAge >= ${v}`],
  [
    "ageTo",
    /^PatientAge < (\d+)$/,
    (v) => `PatientAge < ${Number(v) + 1}`,
    (v) => String(Number(v) - 1),
  ],
  ["yearFrom", /^StudyDate >= (\d{4})0101$/, (v) => `StudyDate >= ${v}0101`],
  ["yearTo", /^StudyDate <= (\d{4})1231$/, (v) => `StudyDate <= ${v}1231`],
];

/** "a and b and (c or d)" -> its parts, split outside of quotes and parentheses. */
export function clausesOf(expression) {
  const clauses = [];
  let depth = 0;
  let quoted = false;
  let start = 0;
  for (let i = 0; i < expression.length; i++) {
    const c = expression[i];
    if (c === "'") quoted = !quoted;
    else if (quoted) continue;
    else if (c === "(") depth++;
    else if (c === ")") depth--;
    else if (depth === 0 && /^\sor\s/i.test(expression.slice(i, i + 4))) return [expression.trim()];
    else if (depth === 0 && /^\sand\s/i.test(expression.slice(i, i + 5))) {
      clauses.push(expression.slice(start, i).trim());
      start = i + 5;
    }
  }
  clauses.push(expression.slice(start).trim());
  return clauses.filter(Boolean);
}

export function parseWhere(expression) {
  const fields = {};
  const rest = [];
  for (const clause of clausesOf(expression)) {
    const known = CLAUSES.find(([name, pattern]) => !(name in fields) && pattern.test(clause));
    if (!known) {
      rest.push(clause);
      continue;
    }
    const [name, pattern, , back = (v) => v] = known;
    fields[name] = back(pattern.exec(clause)[1].replaceAll("''", "'"));
  }
  return { fields, rest: rest.join(" and ") };
}

export function formatWhere({ fields, rest }) {
  const clauses = CLAUSES.filter(([name]) => fields[name]).map(([name, , write]) =>
    write(fields[name]),
  );
  if (rest.trim()) {
    const whole = clausesOf(rest).length === 1 && /\sor\s/i.test(rest) && clauses.length > 0;
    clauses.push(whole && !/^\(.*\)$/.test(rest.trim()) ? `(${rest.trim()})` : rest.trim());
  }
  return clauses.join(" and ");
}

/** Volumes in which one of the usual names begins with what was typed. */
export function beginsWith(typed) {
  const from = text(typed);
  const to = text(typed + "\u{10ffff}");
  return ["VolumeId", "PatientID", "SeriesDescription", "BodyPartExamined", "StudyInstanceUID"]
    .map((name) => `(${name} >= ${from} and ${name} <= ${to})`)
    .join(" or ");
}

export const both = (a, b) => (a && b ? `(${a}) and (${b})` : a || b);
