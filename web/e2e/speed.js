// SPDX-License-Identifier: Apache-2.0
// speed.js: how fast the page is on the demo archive: node e2e/speed.js, in web/.  Prints medians and p95 in
// milliseconds of what a reader waits for: first paint, a search, another slice of both volumes.
import { chromium } from "@playwright/test";
import { demoArchive, serve } from "./service.js";

const quantile = (values, q) =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(q * values.length))];
const line = (what, values) =>
  console.log(
    `${what.padEnd(44)} median ${quantile(values, 0.5).toFixed(0).padStart(5)}   p95 ${quantile(values, 0.95).toFixed(0).padStart(5)}   n ${values.length}`,
  );

const VOLUMES = 24; // all of the demo archive, one after the other

const service = await serve(demoArchive().archive);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox"],
});
const times = { paint: [], search: [], slice: [] };

/** Time from `act` until `done` holds at the end of a frame, in the page's own clock. */
const timed = (page, act, done) =>
  page.evaluate(
    ([a, d]) =>
      new Promise((resolve) => {
        const is = new Function(`return ${d}`);
        const begin = performance.now();
        new Function(a)();
        const look = () =>
          is() ? resolve(performance.now() - begin) : requestAnimationFrame(look);
        requestAnimationFrame(look);
      }),
    [act, done],
  );

for (let i = 0; i < VOLUMES; i++) {
  const context = await browser.newContext({
    viewport: { width: 1280, height: 800 },
    bypassCSP: true,
  });
  const page = await context.newPage();
  await page.goto(`${service.url}/`);
  await page.locator(".volumes img").first().waitFor();
  times.paint.push(
    await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0].startTime),
  );
  await page.goto(`${service.url}/#/volumes/phantom_${String(i + 1).padStart(3, "0")}`);
  await page.locator(".query .bottomleft").filter({ hasText: "slice" }).waitFor();
  times.search.push(
    await timed(
      page,
      "document.querySelector('.ask .primary').click()",
      "document.querySelectorAll('.hits > li > a').length === 10",
    ),
  );
  await page.locator(".hits a").first().click();
  await page.locator(".hit .bottomleft").filter({ hasText: "slice" }).waitFor();
  await page.locator(".query .viewer").focus();
  await page.waitForTimeout(1000); // as a reader looks before moving on
  for (let step = 0; step < 20; step++) {
    const act = `const v = document.querySelector(".query .viewer"); window.wanted = Math.min(Number(v.ariaValueMax), Number(v.ariaValueNow) ${step < 10 ? "+" : "-"} 1);
      v.dispatchEvent(new KeyboardEvent("keydown", { key: "${step < 10 ? "j" : "k"}", bubbles: true }))`;
    const there =
      "[...document.querySelectorAll('.viewer')].every((v) => v.querySelector('.bottomleft').textContent.startsWith('slice ' + v.ariaValueNow + ' of')) && Number(document.querySelector('.query .viewer').ariaValueNow) === window.wanted";
    times.slice.push(await timed(page, act, there));
    await page.waitForTimeout(30);
  }
  await context.close();
}
line("first paint, nothing cached", times.paint);
line("Search pressed to ten hits listed", times.search);
line("key to the next slice of query and hit", times.slice);
await browser.close();
await service.stop();
