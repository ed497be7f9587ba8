// SPDX-License-Identifier: Apache-2.0
// What goes wrong looks deliberate: errors with their reason and a way on, slow and absent networks, filters
// that leave nothing, volumes that are gone.
import { test, complains, expect, expectSlice, openQuery, search, sliceOf } from "./page.js";

test(
  "a filter that makes no sense is explained by the service",
  complains("status of 400"),
  async ({ page, service, shot }) => {
    await openQuery(page, service.url, "phantom_001?where=Modality%20%3D%3D%3D%20'CT'");
    await page.getByRole("button", { name: "Search", exact: true }).click();
    await expect(page.locator(".failed")).toContainText(/Modality|where|expected|filter/);
    await shot("error");
    await page.locator(".options summary").click();
    await page.getByLabel("Condition").fill("Slices > 100000");
    await page.getByLabel("Condition").press("Enter");
    await page.getByRole("button", { name: "Search", exact: true }).click();
    await expect(page.getByText("No volume passed")).toBeVisible();
    await shot("no-hits");
  },
);

test("a volume that is not there", complains("status of 404"), async ({ page, service }) => {
  await page.goto(`${service.url}/#/volumes/nobody`);
  await expect(page.getByRole("alert").filter({ hasText: "Not found" })).toBeVisible();
  await page.getByRole("link", { name: /^Archive/ }).click();
  await expect(page.locator(".volumes > li").first()).toBeVisible();
});

test("a slow network says that something is on its way; the number belongs to the picture", async ({
  page,
  service,
  shot,
}) => {
  await openQuery(page, service.url, "phantom_004");
  let open;
  const gate = new Promise((resolve) => (open = resolve));
  await page.route(/slices\/\d+\.png.*centre=-600/, async (route) => {
    await gate;
    await route.continue();
  });
  const shown = await page.locator(".query .bottomleft").textContent();
  const window = await page.locator(".query .bottomright").textContent();
  await page.getByRole("button", { name: "lung", exact: true }).click();
  await page.keyboard.press("ArrowDown");
  await expect(page.locator(".query .viewer")).toHaveClass(/waiting/);
  await expect(page.locator(".query .bottomleft")).toHaveText(shown);
  await expect(page.locator(".query .bottomright")).toHaveText(window);
  await shot("slow");
  open();
  await expect(page.locator(".query .bottomleft")).not.toHaveText(shown);
  await expect(page.locator(".query .bottomright")).toHaveText("C -600  W 1500");
  await expect(page.locator(".query .viewer")).not.toHaveClass(/waiting/);
});

test("a scan that is still being read shows its preview meanwhile", async ({
  page,
  service,
  shot,
}) => {
  let open;
  const gate = new Promise((resolve) => (open = resolve));
  await page.route(/slices\/\d+\.png.*side=(512|1024)/, async (route) => {
    await gate;
    await route.continue();
  });
  await openQuery(page, service.url, "phantom_008");
  const origin = page.locator(".query .topright");
  await expect(origin).toHaveText("preview: the scan is being read");
  await expect(page.locator(".query .viewer")).toHaveClass(/waiting/);
  const lit = () =>
    page
      .locator(".query canvas")
      .first()
      .evaluate((canvas) => {
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return data.filter((v, i) => i % 4 === 0 && v > 40).length;
      });
  await expect.poll(lit).toBeGreaterThan(1000);
  const slice = await sliceOf(page, "Query");
  await page.getByRole("slider", { name: "Query: slice" }).focus();
  await page.keyboard.press("ArrowDown");
  await expectSlice(page, "Query", slice + 1);
  await expect(origin).toHaveText("preview: the scan is being read");
  await shot("being-read");
  open();
  await expect(origin).toHaveText("");
  await expect(page.locator(".query .viewer")).not.toHaveClass(/waiting/);
  await expectSlice(page, "Query", slice + 1);
});

test(
  "without network what is there stays, and it is said",
  complains("ERR_INTERNET_DISCONNECTED"),
  async ({ page, service, context, shot }) => {
    await openQuery(page, service.url, "phantom_001");
    await search(page);
    await context.setOffline(true);
    await expect(page.getByText("No network")).toBeVisible();
    await page.getByRole("button", { name: "Search", exact: true }).click();
    await expect(page.locator(".failed")).toContainText("cannot be reached");
    await shot("offline");
    await context.setOffline(false);
    await expect(page.getByText("No network")).toBeHidden();
    await page.getByRole("button", { name: "Try again" }).click();
    await expect(page.locator(".hits a").first()).toBeVisible();
  },
);
