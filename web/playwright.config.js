// SPDX-License-Identifier: Apache-2.0
// End-to-end tests of the page, with the real service, in Debian's Chromium.  scripts/test_page.sh runs them.
import { defineConfig } from "@playwright/test";

// Under sanitizers, on a machine with other work, all takes long; nothing here is a test of speed.
const patience = Number(process.env.PAGE_PATIENCE_MS ?? 60_000);
const out = process.env.PAGE_OUT ?? "../build/e2e";

export default defineConfig({
  testDir: "e2e",
  outputDir: `${out}/failures`,
  workers: 1, // one service, one small machine
  fullyParallel: false,
  timeout: 6 * patience,
  expect: { timeout: 2 * patience },
  reporter: [["list"]],
  use: {
    browserName: "chromium",
    actionTimeout: 2 * patience,
    navigationTimeout: 2 * patience,
    screenshot: "only-on-failure",
    contextOptions: { reducedMotion: "reduce" },
    launchOptions: {
      executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
      // Containers lack what the sandbox needs; the page is our own.  WebGL in software.
      args: [
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--use-angle=swiftshader",
        "--enable-unsafe-swiftshader",
      ],
    },
  },
  projects: [
    { name: "desktop", use: { viewport: { width: 1280, height: 800 } } },
    {
      name: "tablet",
      use: { viewport: { width: 1024, height: 768 }, hasTouch: true },
      testMatch: /flow|access/,
    },
  ],
});
