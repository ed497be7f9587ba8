// SPDX-License-Identifier: Apache-2.0
// Tools: a box on the query, a window by dragging, a distance in millimetres, 3-D.
import { test, expect, expectSlice, openQuery, search } from "./page.js";

/** The picture's rectangle on the screen: the demo's slices are square, and fitted to the viewer. */
async function pictureOf(page, name) {
  const box = await page.getByRole("slider", { name: `${name}: slice` }).boundingBox();
  const side = Math.min(box.width, box.height);
  return { x: box.x + (box.width - side) / 2, y: box.y + (box.height - side) / 2, side };
}

async function drag(page, from, to) {
  await page.mouse.move(...from);
  await page.mouse.down();
  await page.mouse.move((from[0] + to[0]) / 2, (from[1] + to[1]) / 2);
  await page.mouse.move(...to);
  await page.mouse.up();
}

test("a box drawn on the query is searched with, as a job", async ({ page, service, shot }) => {
  await openQuery(page, service.url, "phantom_005");
  const volume = await (await page.request.get(`${service.url}/api/v1/volumes/phantom_005`)).json();
  const at = await pictureOf(page, "Query");
  await page.keyboard.press("b");
  await drag(
    page,
    [at.x + at.side * 0.25, at.y + at.side * 0.4],
    [at.x + at.side * 0.5, at.y + at.side * 0.6],
  );
  const value = async (name) => Number(await page.getByLabel(name, { exact: true }).inputValue());
  expect(Math.abs((await value("First row")) - 0.4 * volume.Rows)).toBeLessThanOrEqual(2);
  expect(Math.abs((await value("Last row")) - 0.6 * volume.Rows)).toBeLessThanOrEqual(2);
  expect(Math.abs((await value("First column")) - 0.25 * volume.Columns)).toBeLessThanOrEqual(2);
  expect(Math.abs((await value("Last column")) - 0.5 * volume.Columns)).toBeLessThanOrEqual(2);
  await expect(page.locator(".selected")).toContainText("box on slices");
  await shot("box");
  const asked = page.waitForRequest((r) => r.url().endsWith("/api/v1/search"));
  await search(page);
  const { Box } = (await asked).postDataJSON().Query;
  expect(Box.Rows).toEqual([await value("First row"), await value("Last row")]);
  expect(Box.Columns).toEqual([await value("First column"), await value("Last column")]);
  await shot("box-hits");
  await page.keyboard.press("x");
  await expect(page.getByText("The question changed")).toBeVisible();
  await expect(page.locator(".selected")).toContainText("all 66 slices");
});

test("the reader may look on while a search runs", async ({ page, service }) => {
  await openQuery(page, service.url, "phantom_005?box=10-60,10-60&slices=20-30&slice=25");
  let open;
  const gate = new Promise((resolve) => (open = resolve));
  await page.route(/\/api\/v1\/jobs\//, async (route) => {
    await gate;
    await route.continue();
  });
  await page.getByRole("button", { name: "Search", exact: true }).click();
  await expect(page.getByRole("button", { name: "Searching…" })).toBeDisabled();
  await page.getByRole("slider", { name: "Query: slice" }).focus();
  await page.keyboard.press("ArrowDown");
  await expectSlice(page, "Query", 26);
  await expect(page.getByRole("button", { name: "Searching…" })).toBeDisabled();
  open();
  await expect(page.locator(".hits a").first()).toBeVisible();
  await expectSlice(page, "Query", 26);
  await expect(page.locator(".stale")).toBeHidden();
});

test("slices that nobody asked for yet wait for a search", async ({ page, service }) => {
  await openQuery(page, service.url, "phantom_006");
  let open;
  const gate = new Promise((resolve) => (open = resolve));
  await page.route(/\/api\/v1\/search/, async (route) => {
    await gate;
    await route.continue();
  });
  await page.getByRole("button", { name: "Search", exact: true }).click();
  await expect(page.getByRole("button", { name: "Searching…" })).toBeDisabled();
  const asked = [];
  page.on("request", (r) => r.url().includes("centre=-600") && asked.push(r.url()));
  await page.getByRole("button", { name: "lung", exact: true }).click();
  await expect(page.locator(".query .bottomright")).toHaveText("C -600  W 1500");
  await page.waitForTimeout(500);
  expect(new Set(asked).size).toBe(1);
  open();
  await expect(page.locator(".hits a").first()).toBeVisible();
  await expect.poll(() => asked.filter((u) => u.includes("/slices/")).length).toBeGreaterThan(20);
});

test("a distance is measured in millimetres", async ({ page, service, shot }) => {
  await openQuery(page, service.url, "phantom_005");
  const volume = await (await page.request.get(`${service.url}/api/v1/volumes/phantom_005`)).json();
  const at = await pictureOf(page, "Query");
  await page.keyboard.press("m");
  await drag(
    page,
    [at.x + at.side * 0.2, at.y + at.side * 0.5],
    [at.x + at.side * 0.7, at.y + at.side * 0.5],
  );
  const [, length] = /^Query: ([\d.]+) mm$/.exec(await page.locator("#live").textContent());
  expect(Math.abs(Number(length) - 0.5 * volume.Columns * volume.ColumnSpacingMm)).toBeLessThan(3);
  await shot("measure");
});

test("the window follows the drag, on both, and comes back", async ({ page, service }) => {
  await openQuery(page, service.url, "phantom_005");
  await search(page);
  await page.locator(".hits a").first().click();
  await expect(page.locator(".hit .bottomright")).toContainText("W");
  const before = await page.locator(".query .bottomright").textContent();
  const at = await pictureOf(page, "Query");
  await page.keyboard.press("w");
  await drag(
    page,
    [at.x + at.side * 0.5, at.y + at.side * 0.5],
    [at.x + at.side * 0.7, at.y + at.side * 0.3],
  );
  await expect(page.locator(".query .bottomright")).not.toHaveText(before);
  await expect(page.locator(".hit .bottomright")).toHaveText(
    await page.locator(".query .bottomright").textContent(),
  );
  await page.keyboard.press("0");
  await expect(page.locator(".query .bottomright")).toHaveText(before);
  const { Windows } = await (await page.request.get(`${service.url}/api/v1/system`)).json();
  for (const [i, { Centre, Width }] of Windows.entries()) {
    await page.keyboard.press(String(i + 1));
    await expect(page.locator(".query .bottomright")).toHaveText(`C ${Centre}  W ${Width}`);
  }
});

test("3-D shows both volumes; its crosshair and the slice follow each other", async ({
  page,
  service,
  shot,
}) => {
  await openQuery(page, service.url, "phantom_001");
  await search(page);
  await page.locator(".hits a").first().click();
  await expect(page.locator(".hit .bottomleft")).toContainText("slice");
  await page.getByRole("button", { name: "3-D" }).click();
  await expect(page.locator(".solidview[data-ready]")).toHaveCount(2, { timeout: 120_000 });
  const viewer = page.getByRole("slider", { name: "Query: slice" });
  await page.keyboard.press("Home");
  await expect(viewer).toHaveAttribute("aria-valuenow", "0");
  await page.keyboard.press("PageDown");
  await expect(viewer).toHaveAttribute("aria-valuenow", "10");
  await shot("solid");
  // A click into the lower part of the coronal view moves to another slice of the stack.
  const stage = await page.locator(".query .solidview canvas").boundingBox();
  const before = Number(await viewer.getAttribute("aria-valuenow"));
  for (const fraction of [0.3, 0.4, 0.2, 0.45]) {
    await page.mouse.click(stage.x + stage.width * 0.25, stage.y + stage.height * fraction);
    if (Number(await viewer.getAttribute("aria-valuenow")) !== before) break;
  }
  await expect(viewer).not.toHaveAttribute("aria-valuenow", String(before));
  await page.getByRole("button", { name: "3-D" }).click();
  await expect(page.locator(".solidview")).toHaveCount(0);
  await expectSlice(page, "Query", Number(await viewer.getAttribute("aria-valuenow")));
});
