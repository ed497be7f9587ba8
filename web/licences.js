// SPDX-License-Identifier: Apache-2.0
// licences.js: a plugin of Vite that writes licences.txt: of every package that went into the page its name,
// version and licence, as the licences ask of those who pass copies on.
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

function notice(folder) {
  const { name, version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const file = readdirSync(folder).find((f) => /^licen[cs]e/i.test(f));
  return `${name} ${version}: ${license}\n\n${file ? readFileSync(join(folder, file), "utf8").trim() : "(its package holds no text of it)"}\n`;
}

export function licences() {
  return {
    name: "licences",
    generateBundle(_, bundle) {
      const modules = Object.values(bundle).flatMap((chunk) => Object.keys(chunk.modules ?? {}));
      const folders = new Set(
        modules
          .map((m) => /^\0?(.*\/node_modules\/(?:@[^/]+\/)?[^/?]+)\//.exec(m)?.[1])
          .filter((f) => f && existsSync(join(f, "package.json"))),
      );
      const source = [...folders].sort().map(notice).join("\n----\n\n");
      this.emitFile({ type: "asset", fileName: "licences.txt", source });
    },
  };
}
