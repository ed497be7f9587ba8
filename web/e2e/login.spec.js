// SPDX-License-Identifier: Apache-2.0
// Users and roles: who may not see, may not change; a session that ends.
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { OUT, addUser, copyOf, serve } from "./service.js";
import { test as base, complains, expect, expectSlice, openQuery, search } from "./page.js";

const USERS = { rita: "reader", carl: "contributor", ada: "admin" };
const password = (user) => `${user} has a long password`;

const test = base.extend({
  guarded: [
    async ({ demo }, use) => {
      const state = join(OUT, "state-secure");
      rmSync(state, { recursive: true, force: true });
      mkdirSync(state, { mode: 0o700 });
      for (const [user, role] of Object.entries(USERS)) addUser(state, user, role, password(user));
      const service = await serve(copyOf(demo.archive, "archive-secure"), "--state", state);
      await use(service);
      await service.stop();
    },
    { scope: "worker", timeout: 600_000 },
  ],
});

async function login(page, url, user, word = password(user)) {
  await page.goto(url);
  await page.getByLabel("User").fill(user);
  await page.getByLabel("Password").fill(word);
  await page.getByRole("button", { name: "Log in" }).click();
}

async function logout(page) {
  await page.getByRole("button", { name: "Log out" }).click();
  await expect(page.getByLabel("Password")).toBeVisible();
}

const refused = complains("status of (401|403|404)");

test(
  "a wrong password is refused, a right one opens the view that was asked for",
  complains("status of 401|ERR_INTERNET_DISCONNECTED"),
  async ({ page, guarded, shot }) => {
    await login(page, `${guarded.url}/#/volumes/phantom_003?slices=5-9`, "rita", "wrong");
    await expect(page.getByText("User or password is wrong.")).toBeVisible();
    await shot("login");
    await page.getByLabel("Password").fill(password("rita"));
    await page.keyboard.press("Enter");
    await expect(page.getByRole("heading", { name: "phantom_003" })).toBeVisible();
    await expect(page.locator(".selected")).toHaveText("Query: slices 5 to 9");
    await expect(page.getByText("rita · reader")).toBeVisible();
    await page.context().setOffline(true);
    await page.getByRole("button", { name: "Log out" }).click();
    await expect(page.getByText("Not logged out")).toBeVisible(); // nor does it look so
    await expect(page.getByText("rita · reader")).toBeVisible();
    await page.context().setOffline(false);
    await logout(page);
    await page.reload();
    await expect(page.getByLabel("Password")).toBeVisible();
  },
);

test(
  "each role sees what it may do, and the service holds to it",
  refused,
  async ({ page, guarded, shot }) => {
    await login(page, guarded.url, "rita");
    await expect(page.locator(".volumes > li").first()).toBeVisible();
    await expect(page.getByRole("button", { name: "Add scans" })).toHaveCount(0);
    await expect(page.getByRole("button", { name: /Remove phantom/ })).toHaveCount(0);
    await shot("reader");
    const status = await page.evaluate(
      async () =>
        (
          await fetch("/api/v1/volumes/phantom_003", {
            method: "DELETE",
            headers: { "X-Cmir": "1" },
          })
        ).status,
    );
    expect(status).toBe(403);
    await logout(page);
    await login(page, guarded.url, "carl");
    await expect(page.getByRole("button", { name: "Add scans" })).toBeVisible();
    await expect(page.getByRole("button", { name: /Remove phantom/ })).toHaveCount(0);
    await logout(page);
    await login(page, guarded.url, "ada");
    await expect(page.locator(".volumes > li")).toHaveCount(24);
    page.once("dialog", (d) => d.accept());
    await page.locator(".volumes > li").first().hover();
    await page.getByRole("button", { name: "Remove phantom_001 from the archive" }).click();
    await expect(page.locator(".volumes > li")).toHaveCount(23);
  },
);

test("labels are imported by those who may", refused, async ({ page, guarded }) => {
  await login(page, guarded.url, "carl");
  const labels = page.locator("input[accept*='csv']");
  await labels.setInputFiles({
    name: "outcome.csv",
    mimeType: "text/csv",
    buffer: Buffer.from("name,outcome\nphantom_005,recovered\nnobody,x\n"),
  });
  await expect(page.getByText("1 volumes labelled; 1 rows are of no volume here")).toBeVisible();
  await page.getByLabel("Label", { exact: true }).selectOption({ label: "outcome = recovered" });
  await expect(page.locator(".volumes > li")).toHaveCount(1);
});

test(
  "a session that ends asks again, and goes on where it was",
  refused,
  async ({ page, guarded }) => {
    await login(page, guarded.url, "rita");
    await expect(page.locator(".volumes > li").first()).toBeVisible();
    await openQuery(page, guarded.url, "phantom_006");
    await page.keyboard.press("Home");
    await expectSlice(page, "Query", 0);
    await expect(page).toHaveURL(/slice=0/);
    await page.context().clearCookies();
    // Whatever the page asks next; it may have asked for pictures already, and be at the login.
    await page.evaluate(() => document.querySelector(".ask .primary")?.click());
    await page.getByLabel("User").fill("rita");
    await page.getByLabel("Password").fill(password("rita"));
    await page.keyboard.press("Enter");
    await expect(page.getByRole("heading", { name: "phantom_006" })).toBeVisible();
    await expectSlice(page, "Query", 0);
    await search(page);
  },
);
