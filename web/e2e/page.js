// SPDX-License-Identifier: Apache-2.0
// page.js: what tests of the page share: services that live as long as the worker, a page that must not
// complain, screenshots of each state.
import { test as base, expect } from "@playwright/test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { OUT, demoArchive, serve } from "./service.js";

export { expect };

export const test = base.extend({
  demo: [async ({}, use) => use(demoArchive()), { scope: "worker", timeout: 600_000 }],

  service: [
    async ({ demo }, use, info) => {
      const service = await serve(demo.archive, "--state", join(OUT, `state-${info.workerIndex}`));
      await use(service);
      expect(await service.stop()).toBe(0);
    },
    { scope: "worker", timeout: 600_000 },
  ],

  /** Errors that the browser or the page reported, but for those that a test names as expected. */
  complaints: async ({ page }, use, info) => {
    const complaints = [];
    page.on("pageerror", (error) => complaints.push(`error: ${error.message}`));
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type()))
        complaints.push(`${message.type()}: ${message.text()}`);
    });
    await use(complaints);
    const expected = info.annotations
      .filter((a) => a.type === "complains")
      .map((a) => a.description);
    // WebGL in software says that it is slow.
    const ignored = [
      /GPU stall|swiftshader|GroupMarkerNotSet/i,
      ...expected.map((e) => new RegExp(e)),
    ];
    expect(complaints.filter((c) => !ignored.some((i) => i.test(c)))).toEqual([]);
  },

  /** No request leaves the host that serves the page. */
  foreign: async ({ page }, use) => {
    const requests = [];
    page.on("request", (request) => {
      const { protocol, hostname } = new URL(request.url());
      if (/^https?:/.test(protocol) && hostname !== "127.0.0.1") requests.push(request.url());
    });
    await use(requests);
    expect(requests).toEqual([]);
  },

  shot: async ({ page }, use, info) => {
    const dir = join(OUT, "shots");
    mkdirSync(dir, { recursive: true });
    await use((name) =>
      page.screenshot({ path: join(dir, `${info.project.name}-${name}.png`), timeout: 120_000 }),
    );
  },
});

/** Details of a test in which the browser may complain of this. */
export const complains = (description) => ({ annotation: { type: "complains", description } });

/** A test that needs no one to look at it still fails on any complaint of the browser. */
test.beforeEach(async ({ complaints, foreign }) => void [complaints, foreign]);

/** The viewer shows the picture of this slice. */
export async function expectSlice(page, name, slice) {
  const viewer = page.getByRole("slider", { name: `${name}: slice` });
  await expect(viewer).toHaveAttribute("aria-valuenow", String(slice));
  await expect(viewer.locator(".bottomleft")).toContainText(`slice ${slice} of`);
  return viewer;
}

export const sliceOf = async (page, name) =>
  Number(await page.getByRole("slider", { name: `${name}: slice` }).getAttribute("aria-valuenow"));

export async function openQuery(page, url, volume) {
  await page.goto(`${url}/#/volumes/${volume}`);
  await expect(page.getByRole("heading", { name: volume.split("?")[0] })).toBeVisible();
  await expect(page.locator(".query .bottomleft")).toContainText("slice");
}

export async function search(page) {
  await page.getByRole("button", { name: "Search", exact: true }).click();
  await expect(page.locator(".hits a").first()).toBeVisible();
}

/** What the service answers to a search, asked beside the page. */
export async function answer(page, url, body) {
  const response = await page.request.post(`${url}/api/v1/search`, {
    data: body,
    headers: { "X-Cmir": "1" },
  });
  expect(response.status()).toBe(200);
  return response.json();
}
