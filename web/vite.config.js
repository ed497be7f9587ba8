// SPDX-License-Identifier: Apache-2.0
// The page is built into build/web, from where the program's build embeds it.  Nothing is inlined: the
// service's Content-Security-Policy admits files of its own origin only.
import { defineConfig } from "vite";
import { licences } from "./licences.js";

export default defineConfig({
  plugins: [licences()],
  resolve: {
    alias: [
      { find: /^numcodecs\/.*/, replacement: new URL("src/nocodec.js", import.meta.url).pathname },
    ],
  },
  build: {
    outDir: "../build/web",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
    chunkSizeWarningLimit: 4096, // NiiVue, loaded when 3-D is asked for
  },
});
