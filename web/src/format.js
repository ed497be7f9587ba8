// SPDX-License-Identifier: Apache-2.0
// format.js: figures and facts as the page writes them.

export const score = (value) => value.toFixed(4);
export const percent = (value) => `${Math.round(100 * value)} %`;
export const number = (value) => String(Number(value.toPrecision(6)));
export const mm = (value) => `${value.toFixed(1)} mm`;
export const year = (date) => (/^\d{4}/.test(date ?? "") ? date.slice(0, 4) : "");
export const date = (text) =>
  /^\d{8}$/.test(text ?? "") ? `${text.slice(0, 4)}-${text.slice(4, 6)}-${text.slice(6)}` : "";

export function bytes(n) {
  const units = ["B", "KB", "MB", "GB"];
  let i = 0;
  while (n >= 1000 && i < units.length - 1) {
    n /= 1000;
    i++;
  }
  return `${i === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)} ${units[i]}`;
}

export function seconds(n) {
  if (n === null || n === undefined) return "";
  return n < 90 ? `${Math.max(1, Math.round(n))} s` : `${Math.round(n / 60)} min`;
}

/** Modality, age, sex and year of a volume: what stands on every card. */
export function facts(volume) {
  const age = volume.PatientAge;
  return [
    volume.Modality,
    volume.BodyPartExamined,
    age === null || age === undefined ? "" : `${Math.floor(age)} y`,
    { M: "male", F: "female", O: "other" }[volume.PatientSex] ?? "",
    year(volume.StudyDate),
  ].filter(Boolean);
}

/** How often such votes were right in this archive, in a sentence; as cmir search says it. */
export function calibration(c) {
  if (!c)
    return "Not calibrated in this archive (cmir calibrate): how often such votes are right is not known.";
  if (c.Queries === 0) return "Too few labelled cases to say how often such votes are right here.";
  let text;
  if (c.Kind === "number")
    text = `In this archive half of ${c.Queries} such medians were within ${number(c.MedianError)} of the truth; the median of all within ${number(c.MedianErrorOfMedian)}`;
  else
    text = `In this archive such votes were right in ${c.Right} of ${c.Queries} (${percent(c.Rate)}, ${percent(c.RateInterval[0])} to ${percent(c.RateInterval[1])}; ${c.Patients} patients); always the commonest value: ${c.RightByMajority}`;
  if (c.Stale) text += "; measured before the archive changed";
  if (!c.SameSearch) text += "; for searches unlike this one";
  return `${text}.`;
}

/** A cell of a CSV file that no spreadsheet takes for a formula. */
export function csvCell(value) {
  let text = String(value ?? "");
  if (/^[=+\-@\t\r]/.test(text) && !/^-?\d+(\.\d+)?$/.test(text)) text = `'${text}`;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
export const csv = (rows) => rows.map((r) => r.map(csvCell).join(",")).join("\r\n") + "\r\n";
