// SPDX-License-Identifier: Apache-2.0
// The whole way of a reader: from the archive to a hit beside the query, judged, kept and taken away.
import { readFileSync } from "node:fs";
import { cmirJson } from "./service.js";
import { test, expect, answer, expectSlice, openQuery, search, sliceOf } from "./page.js";

const plain = (volume) => ({
  Query: { VolumeId: volume, UploadId: null },
  Score: "maxsim",
  Limit: 10,
  Exclude: "volume",
  Neighbours: 10,
});

test("the archive lists, finds and filters volumes", async ({ page, service, shot }) => {
  await page.goto(service.url);
  const cards = page
    .getByRole("list", { name: "Volumes" })
    .getByRole("listitem")
    .filter({ has: page.getByRole("img", { includeHidden: true }).or(page.locator("img")) });
  await expect(cards).toHaveCount(24);
  await expect
    .poll(() =>
      page
        .locator(".volumes img")
        .first()
        .evaluate((i) => i.complete && i.naturalWidth),
    )
    .toBeGreaterThan(32);
  await shot("archive");
  await page.getByLabel("Find volumes").fill("phantom_01");
  await expect(cards).toHaveCount(10);
  await page.getByLabel("Find volumes").fill("");
  await expect(cards).toHaveCount(24);
  await page.getByLabel("Body part").fill("chest");
  await page.getByLabel("Body part").press("Enter");
  await expect(cards).toHaveCount(6);
  await page.getByLabel("Label", { exact: true }).selectOption({ label: "cancer_flag = 1" });
  await expect(page.getByLabel("Condition")).toHaveValue("cancer_flag = 1");
  await expect(cards).toHaveCount(4);
  await page.getByLabel("Condition").fill("Slices > 100000");
  await page.getByLabel("Condition").press("Enter");
  await expect(page.getByText("No volume passes")).toBeVisible();
  await shot("archive-none");
  await page.getByRole("button", { name: "Show all" }).click();
  await expect(cards).toHaveCount(24);
});

test("hits are those of cmir search, in its order, with its scores", async ({
  page,
  service,
  demo,
  shot,
}) => {
  await openQuery(page, service.url, "phantom_001");
  await shot("query");
  await search(page);
  const expected = cmirJson("search", demo.archive, `${demo.archive}:phantom_001`).Matches;
  const hits = page.locator(".hits > li");
  await expect(hits).toHaveCount(expected.length);
  for (const [i, match] of expected.entries()) {
    await expect(hits.nth(i)).toContainText(match.VolumeId);
    await expect(hits.nth(i).locator(".score")).toHaveText(match.Score.toFixed(4));
    await expect(hits.nth(i).locator(".where b")).toHaveText(match.MatchSlices.join("–"));
    await expect(hits.nth(i).locator(".facts")).toContainText("CT");
  }
  await expect
    .poll(() =>
      page
        .locator(".hits img")
        .first()
        .evaluate((i) => i.complete && i.naturalWidth),
    )
    .toBeGreaterThan(32);
  await shot("hits");
});

test("side by side, moving in one moves the other to the slice that matched", async ({
  page,
  service,
  shot,
}) => {
  const {
    Matches: [first, second],
  } = await answer(page, service.url, plain("phantom_001"));
  await openQuery(page, service.url, "phantom_001");
  await search(page);
  await page.locator(".hits a").first().click();
  const { QuerySlice, MatchSlice } = first.BestPair;
  const viewer = await expectSlice(page, "Query", QuerySlice);
  await expectSlice(page, "Hit", MatchSlice);
  await shot("open");
  await viewer.focus();
  const match = new Map(first.SliceMatches.map(([q, m]) => [q, m]));
  for (const [key, step] of [
    ["ArrowDown", 1],
    ["j", 1],
    ["k", -1],
    ["ArrowUp", -1],
    ["PageUp", -10],
    ["PageDown", 10],
    ["Home", -1e6],
  ]) {
    const to = Math.max(0, Math.min(52, (await sliceOf(page, "Query")) + step));
    await page.keyboard.press(key);
    await expectSlice(page, "Query", to);
    await expectSlice(page, "Hit", match.get(to));
    await expect(page.locator(".pair")).toContainText(`${to} ↔ ${match.get(to)}`);
  }
  // From the hit: its strip leads the query to the slice that was found there.
  const [q, m] = first.SliceMatches[30];
  const strip = page.getByRole("group", { name: "Slices of the hit" }).locator(".track");
  const box = await strip.boundingBox();
  const nSlices =
    Number(await page.getByRole("slider", { name: "Hit: slice" }).getAttribute("aria-valuemax")) +
    1;
  await strip.click({ position: { x: ((m + 0.5) / nSlices) * box.width, y: 10 } });
  await expectSlice(page, "Hit", m);
  const found = first.SliceMatches.filter((x) => x[1] === m).sort((a, b) => b[2] - a[2])[0];
  await expectSlice(page, "Query", found[0]);
  expect(found[2]).toBeGreaterThanOrEqual(first.SliceMatches.find((x) => x[0] === q)[2]);
  // Unlinked, the other stays.
  await page.getByRole("button", { name: "Linked" }).click();
  await viewer.focus();
  await page.keyboard.press("Home");
  await expectSlice(page, "Query", 0);
  await expectSlice(page, "Hit", m);
  await page.getByRole("button", { name: "Linked" }).click();
  await page.keyboard.press("n");
  await expect(page.locator(".hits a[aria-current]")).toContainText(second.VolumeId);
  await expectSlice(page, "Hit", second.BestPair.MatchSlice);
  await page.keyboard.press("p");
  await expect(page.locator(".hits a[aria-current]")).toContainText(first.VolumeId);
  await page.keyboard.press("Escape");
  await expect(page.getByRole("region", { name: "Hit", exact: true })).toBeHidden();
});

test("evidence counts cases with intervals and leads to them; contrast is drawn", async ({
  page,
  service,
  shot,
}) => {
  const { Evidence } = await answer(page, service.url, plain("phantom_001"));
  await openQuery(page, service.url, "phantom_001");
  await page.locator(".options summary").click();
  await page.getByLabel("Contrast by").selectOption("cancer_flag");
  await shot("options");
  await page.locator(".options summary").click();
  await search(page);
  await page.locator(".hits a").first().click();
  await page.getByRole("tab", { name: "Evidence" }).click();
  const panel = page.getByRole("tabpanel", { name: "Evidence" });
  await expect(panel.getByText("Contrast: cancer_flag above 0")).toBeVisible();
  await shot("evidence");
  const flag = Evidence.find((e) => e.Label === "cancer_flag");
  const section = panel
    .locator("section")
    .filter({ has: page.locator("h3", { hasText: /^cancer_flag/ }) });
  const row = section.locator("tbody tr").first();
  await expect(row).toContainText(`${flag.Values[0].Count} of ${flag.Labelled}`);
  await expect(row).toContainText(
    `${Math.round(100 * flag.Values[0].ShareInterval[0])} % to ${Math.round(100 * flag.Values[0].ShareInterval[1])} %`,
  );
  await expect(row.locator("td").nth(2).locator("a")).toHaveText(flag.Values[0].For.map(String));
  await expect(section).toContainText("how often such votes are right is not known");
  await row.locator("td").nth(2).locator("a").nth(1).click();
  await expect(
    page
      .getByRole("region", { name: "Hit", exact: true })
      .getByText(`Hit ${flag.Values[0].For[1]}`)
      .first(),
  ).toBeVisible();
});

test("a range of slices is what is searched with; the address restores all of it", async ({
  page,
  service,
  shot,
}) => {
  await openQuery(page, service.url, "phantom_007");
  const viewer = page.getByRole("slider", { name: "Query: slice" });
  await viewer.focus();
  await page.keyboard.press("Home");
  for (let i = 0; i < 10; i++) await page.keyboard.press("ArrowDown");
  await expectSlice(page, "Query", 10);
  await page.keyboard.press("[");
  await page.keyboard.press("PageDown");
  await expectSlice(page, "Query", 20);
  await page.keyboard.press("]");
  await expect(page.locator(".selected")).toHaveText("Query: slices 10 to 20");
  await page.keyboard.press("Enter");
  await expect(page.locator(".hits a").first()).toBeVisible();
  await page.locator(".hits a").nth(2).click();
  const { Matches } = await answer(page, service.url, {
    ...plain("phantom_007"),
    Query: { VolumeId: "phantom_007", UploadId: null, Slices: [10, 20] },
  });
  await expect(page.locator(".hits a[aria-current]")).toContainText(Matches[2].VolumeId);
  await expect(page.locator(".hits .score")).toHaveText(Matches.map((m) => m.Score.toFixed(4)));
  await page.getByRole("button", { name: "lung", exact: true }).click();
  await expect(page.locator(".hit .bottomright")).toHaveText("C -600  W 1500");
  await page.getByRole("slider", { name: "Hit: slice" }).focus();
  await page.keyboard.press("ArrowDown");
  const [q, m] = [await sliceOf(page, "Query"), await sliceOf(page, "Hit")];
  await expect.poll(() => page.url()).toContain(`hitslice=${m}`);
  await shot("range");
  const other = await page.context().newPage();
  await other.goto(page.url());
  await expectSlice(other, "Query", q);
  await expectSlice(other, "Hit", m);
  await expect(other.locator(".selected")).toHaveText("Query: slices 10 to 20");
  await expect(other.locator(".hit .bottomright")).toHaveText("C -600  W 1500");
  await expect(other.locator(".hits a[aria-current]")).toContainText(Matches[2].VolumeId);
  await other.close();
  // Back: the list without a hit, then the query before its search.
  await page.goBack();
  await expect(page.getByRole("region", { name: "Hit", exact: true })).toBeHidden();
  await page.goBack();
  await expect(page.getByRole("button", { name: "Search", exact: true })).toBeEnabled();
});

test("judged, kept as a cohort, taken away as tables and a report", async ({
  page,
  service,
  shot,
}, info) => {
  const name = `Nodules ${info.project.name}`;
  await openQuery(page, service.url, "phantom_002");
  await search(page);
  const { Matches } = await answer(page, service.url, plain("phantom_002"));
  await page.locator(".hits a").first().click();
  const yes = page.getByRole("button", { name: "Relevant", exact: true });
  if ((await yes.getAttribute("aria-pressed")) !== "true") await yes.click();
  await expect(yes).toHaveAttribute("aria-pressed", "true");
  await page.keyboard.press("n");
  await expect(page.locator(".hits a[aria-current]")).toContainText(Matches[1].VolumeId);
  const no = page.getByRole("button", { name: "Not relevant", exact: true });
  if ((await no.getAttribute("aria-pressed")) !== "true") await page.keyboard.press("i");
  await expect(no).toHaveAttribute("aria-pressed", "true");
  await expect(page.locator(".hits > li").first()).toContainText("relevant");
  await page.reload();
  await expect(page.locator(".hits > li").nth(1)).toContainText("not relevant");

  await page.getByRole("button", { name: "Save as cohort" }).click();
  const dialog = page.getByRole("dialog", { name: "Save as cohort" });
  await dialog.getByLabel("Name").fill(name);
  await dialog.getByLabel(Matches[2].VolumeId).check();
  await shot("cohort");
  await dialog.getByRole("button", { name: "Save" }).click();
  await expect(page.getByText(`Cohort “${name}” saved: 2 volumes.`)).toBeVisible();
  await page.getByRole("button", { name: "Cohorts" }).click();
  const row = page
    .getByRole("dialog", { name: "Cohorts" })
    .getByRole("listitem")
    .filter({ hasText: name })
    .first();
  const [csv] = await Promise.all([
    page.waitForEvent("download"),
    row.getByRole("link", { name: "CSV" }).click(),
  ]);
  const table = readFileSync(await csv.path(), "utf8");
  expect(table).toContain(Matches[0].VolumeId);
  expect(table).toContain(Matches[2].VolumeId);
  expect(table).not.toContain(Matches[1].VolumeId);
  await shot("cohorts");
  page.once("dialog", (d) => d.accept());
  await row.getByRole("button", { name: /Delete/ }).click();
  await expect(row).toHaveCount(0);
  await page.keyboard.press("Escape");

  const take = async (item) => {
    await page.getByRole("button", { name: "Export" }).click();
    const [file] = await Promise.all([
      page.waitForEvent("download"),
      page.getByRole("button", { name: item }).click(),
    ]);
    return readFileSync(await file.path(), "utf8");
  };
  const hits = (await take(/CSV/)).trim().split("\r\n");
  expect(hits).toHaveLength(Matches.length + 1);
  expect(hits[1]).toContain(`1,${Matches[0].VolumeId},`);
  expect(JSON.parse(await take(/JSON/)).Matches).toEqual(Matches);
  await page.getByRole("button", { name: "Export" }).click();
  await page.getByRole("button", { name: "Report with pictures" }).click();
  const link = page.getByRole("link", { name: "Save the report" });
  await expect(link).toBeVisible({ timeout: 120_000 });
  await shot("report");
  const [report] = await Promise.all([page.waitForEvent("download"), link.click()]);
  const html = readFileSync(await report.path(), "utf8");
  expect(html).toContain(Matches[0].VolumeId);
  expect(html.toLowerCase()).toContain("not for diagnosis");
});
