// SPDX-License-Identifier: Apache-2.0
// dropped.js: the files behind what was dropped: folders are walked.

const entriesOf = (reader) => new Promise((resolve, reject) => reader.readEntries(resolve, reject));
const fileOf = (entry) => new Promise((resolve, reject) => entry.file(resolve, reject));

async function walk(entry, files) {
  if (entry.isFile) {
    files.push(await fileOf(entry));
    return;
  }
  const reader = entry.createReader();
  for (let some = await entriesOf(reader); some.length; some = await entriesOf(reader))
    for (const inner of some) await walk(inner, files);
}

/** All files of a DataTransfer; hidden ones, such as .DS_Store, are left out. */
export async function filesOf(transfer) {
  // Entries must be taken before the first await: the list is emptied when the event ends.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const files = [];
  for (const entry of entries) await walk(entry, files);
  return (entries.length ? files : [...transfer.files]).filter((f) => !f.name.startsWith("."));
}
