// SPDX-License-Identifier: Apache-2.0
// A scan from the reader's disk: dropped or chosen, searched with, refused with a reason, added.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { OUT, cmirJson, copyOf, demoArchive, realScans, serve } from "./service.js";
import { test, expect, search, expectSlice } from "./page.js";

const query = (demo, name) => join(demo.queries, `${name}.nii.gz`);

async function broken() {
  const path = join(OUT, "broken.nii.gz");
  writeFileSync(path, "this is no scan");
  return path;
}

test("a chosen file is encoded, opened and found where it was cut from", async ({
  page,
  service,
  demo,
  shot,
}) => {
  const [name, source, first, last] = demo.truth.find(([q]) => q === "part_of_phantom_007");
  await page.goto(service.url);
  await page.locator("#query-files").setInputFiles(query(demo, name));
  await expect(page.getByRole("heading", { name })).toBeVisible();
  await expect(page.getByText("This scan was uploaded.")).toBeVisible();
  await expect(page.locator(".query .bottomleft")).toContainText("slice");
  await shot("uploaded");
  await search(page);
  const hits = page.locator(".hits > li");
  await expect(hits.first()).toContainText(source);
  const expected = cmirJson("search", demo.archive, query(demo, name)).Matches;
  await expect(page.locator(".hits .score")).toHaveText(expected.map((m) => m.Score.toFixed(4)));
  const [a, b] = (await hits.first().locator(".where b").textContent()).split("–").map(Number);
  expect(Math.abs(a - Number(first)) + Math.abs(b - Number(last))).toBeLessThan(
    0.3 * (last - first),
  );
  await hits.first().locator("a").click();
  await expectSlice(page, "Hit", expected[0].BestPair.MatchSlice);
  await page.reload();
  await expectSlice(page, "Hit", expected[0].BestPair.MatchSlice);
});

test("a broken file is refused by name with the reason; a good one beside it is taken", async ({
  page,
  service,
  demo,
  shot,
}) => {
  await page.goto(service.url);
  const bad = await broken();
  await page.locator("#query-files").setInputFiles([bad, query(demo, "new_chest_phantom_025")]);
  const dialog = page.getByRole("dialog", { name: "Uploaded scans" });
  await expect(dialog).toContainText("broken.nii.gz");
  await shot("refused");
  await dialog.getByRole("button", { name: /new_chest/ }).click();
  await expect(page.getByRole("heading", { name: "new_chest_phantom_025" })).toBeVisible();
});

test("only broken files: it is said, and nothing is opened", async ({ page, service, shot }) => {
  await page.goto(service.url);
  await page.locator("#query-files").setInputFiles(await broken());
  const dialog = page.getByRole("dialog");
  await expect(dialog).toContainText(/broken\.nii\.gz|scan/);
  await shot("broken");
  await page.keyboard.press("Escape");
  await expect(page.getByRole("heading", { name: "Archive", level: 1 })).toBeVisible();
});

test("a file dropped anywhere becomes the query", async ({ page, service, demo }) => {
  await page.goto(service.url);
  await expect(page.locator(".volumes img").first()).toBeVisible();
  const bytes = readFileSync(query(demo, "new_pelvis_phantom_027")).toString("base64");
  const transfer = await page.evaluateHandle((text) => {
    const data = new DataTransfer();
    data.items.add(
      new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], "dropped.nii.gz"),
    );
    return data;
  }, bytes);
  await page.dispatchEvent("body", "drop", { dataTransfer: transfer });
  await expect(page.getByRole("heading", { name: "dropped" })).toBeVisible();
});

test("what was uploaded can be added to the archive", async ({ page, demo }) => {
  const service = await serve(copyOf(demo.archive, "archive-to-add"));
  try {
    await page.goto(service.url);
    await page.locator("#query-files").setInputFiles(query(demo, "new_trunk_phantom_028"));
    await expect(page.getByRole("heading", { name: "new_trunk_phantom_028" })).toBeVisible();
    await page.getByRole("button", { name: "Add this scan to the archive" }).click();
    await expect(page.getByText("1 added to the archive")).toBeVisible();
    await expect(page).toHaveURL(/#\/volumes\/new_trunk_phantom_028/);
    await page.getByRole("link", { name: /^Archive/ }).click();
    await page.getByLabel("Find volumes").fill("new_trunk");
    await expect(page.locator(".volumes > li")).toHaveCount(1);
  } finally {
    await service.stop();
  }
});

test("real scans: searched with each other's slices", async ({ page, shot }) => {
  const scans = realScans();
  if (!scans)
    console.log(
      "SKIPPED: no real scans here (CMIR_SHARED): the page was tried with made-up ones only",
    );
  test.skip(!scans, "no folder of real scans");
  const { archive } = demoArchive();
  const copy = copyOf(archive, "archive-real");
  cmirJson("add", copy, scans[1], "-q");
  const service = await serve(copy);
  try {
    await page.goto(service.url);
    await page.locator("#query-files").setInputFiles(scans[0]);
    await expect(page.locator(".query .bottomleft")).toContainText("slice", { timeout: 180_000 });
    await search(page);
    const expected = cmirJson("search", copy, scans[0]).Matches;
    await expect(page.locator(".hits .score")).toHaveText(expected.map((m) => m.Score.toFixed(4)));
    await page.locator(".hits a").first().click();
    await expectSlice(page, "Query", expected[0].BestPair.QuerySlice);
    await expectSlice(page, "Hit", expected[0].BestPair.MatchSlice);
    await shot("real");
    const [q, m] = expected[0].SliceMatches[20];
    await page.goto(
      page
        .url()
        .replace(/([?&])slice=\d+/, `$1slice=${q}`)
        .replace(/hitslice=\d+/, `hitslice=${m}`),
    );
    await expectSlice(page, "Hit", m);
    await page.keyboard.press("ArrowDown");
    await expectSlice(page, "Hit", expected[0].SliceMatches.find((x) => x[0] === q + 1)[1]);
  } finally {
    await service.stop();
  }
});
