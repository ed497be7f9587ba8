// SPDX-License-Identifier: Apache-2.0
// For every reader: no serious violation that axe finds, in any state, dark or light; all of it by keyboard.
import AxeBuilder from "@axe-core/playwright";
import { test, expect, openQuery, search } from "./page.js";

async function expectAccessible(page, state) {
  const { violations } = await new AxeBuilder({ page })
    .withTags(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"])
    .analyze();
  const serious = violations.filter((v) => ["serious", "critical"].includes(v.impact));
  expect(
    serious.map(
      (v) =>
        `${state}: ${v.id}: ${v.nodes
          .map((n) => n.target.join(" "))
          .slice(0, 4)
          .join(" | ")}`,
    ),
  ).toEqual([]);
}

for (const theme of ["dark", "light"])
  test(`no serious violation in any state, ${theme}`, async ({ page, service, shot }) => {
    await page.addInitScript((t) => localStorage.setItem("cmir-theme", t), theme);
    await page.goto(service.url);
    await expect(page.locator(".volumes img").first()).toBeVisible();
    await expectAccessible(page, "archive");
    if (theme === "light") await shot("archive-light");
    await openQuery(page, service.url, "phantom_001?contrast=cancer_flag");
    await page.locator(".options summary").click();
    await expectAccessible(page, "query");
    await page.getByRole("button", { name: "Add a box" }).click();
    await expectAccessible(page, "box");
    await page.getByRole("button", { name: "Clear" }).click();
    await page.locator(".options summary").click();
    await search(page);
    await expect(page.locator(".hits .facts").first()).toContainText("CT");
    await expectAccessible(page, "hits");
    await page.locator(".hits a").first().click();
    await expect(page.locator(".pair")).toContainText("similarity");
    await page.keyboard.press("r");
    await expect(page.locator(".verdict.yes").first()).toBeVisible();
    await expectAccessible(page, "open");
    if (theme === "light") await shot("open-light");
    await page.keyboard.press("r");
    await expect(page.locator(".verdict.yes")).toHaveCount(0);
    await page.getByRole("tab", { name: "Evidence" }).click();
    await expectAccessible(page, "evidence");
    await page.keyboard.press("?");
    await expect(page.getByRole("dialog")).toBeVisible();
    await expectAccessible(page, "help");
    await shot(`help-${theme}`);
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Save as cohort" }).click();
    await expectAccessible(page, "cohort");
  });

test("from the archive to a judged hit without a pointer", async ({ page, service }) => {
  await page.goto(service.url);
  await expect(page.locator(".volumes > li")).toHaveCount(24);
  await page.keyboard.press("/");
  await page.keyboard.type("phantom_009");
  await expect(page.locator(".volumes > li")).toHaveCount(1);
  await page.keyboard.press("Tab");
  await expect(page.locator(".volumes a").first()).toBeFocused();
  await page.keyboard.press("Enter");
  await expect(page.locator(".query .bottomleft")).toContainText("slice");
  await page.keyboard.press("Home");
  await page.keyboard.press("PageDown");
  await page.keyboard.press("[");
  await page.keyboard.press("PageDown");
  await page.keyboard.press("PageDown");
  await page.keyboard.press("]");
  await expect(page.locator(".selected")).toHaveText("Query: slices 10 to 30");
  const handle = page.getByRole("slider", { name: "Last slice searched" });
  await handle.focus();
  await page.keyboard.press("ArrowRight");
  await expect(page.locator(".selected")).toHaveText("Query: slices 10 to 31");
  await page.keyboard.press("Enter");
  await expect(page.locator(".hits a").first()).toBeVisible();
  await page.keyboard.press("n");
  await expect(page.locator(".hits a[aria-current]")).toHaveCount(1);
  await expect(page.getByRole("region", { name: "Hit", exact: true })).toBeVisible();
  await page.keyboard.press("r");
  await expect(page.getByRole("button", { name: "Relevant", exact: true })).toHaveAttribute(
    "aria-pressed",
    "true",
  );
  await page.keyboard.press("r");
  await expect(page.getByRole("button", { name: "Relevant", exact: true })).toHaveAttribute(
    "aria-pressed",
    "false",
  );
  await page.keyboard.press("e");
  await expect(page.getByRole("tabpanel", { name: "Evidence" })).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(page.getByRole("region", { name: "Hit", exact: true })).toBeHidden();
});
