// SPDX-License-Identifier: Apache-2.0
// service.js: archives to test with, made once by the command, and `cmir serve` on them.
import { execFileSync, spawn } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = dirname(fileURLToPath(import.meta.url));
export const CMIR = resolve(process.env.CMIR ?? join(HERE, "../../build/cmir"));
export const OUT = resolve(HERE, "..", process.env.PAGE_OUT ?? "../build/e2e");
const SHARED = resolve(HERE, "../..", process.env.CMIR_SHARED ?? "../shared");

export const cmir = (...args) =>
  execFileSync(CMIR, args, {
    encoding: "utf8",
    stdio: ["pipe", "pipe", "inherit"],
    maxBuffer: 1 << 28,
  });
export const cmirJson = (...args) => JSON.parse(cmir(...args, "--json"));

/** The demo archive of `make demo`: 24 made-up patients, 8 queries. */
export function demoArchive() {
  const dir = join(OUT, "demo");
  if (!existsSync(join(dir, "done"))) {
    rmSync(dir, { recursive: true, force: true });
    mkdirSync(dir, { recursive: true });
    cmir("phantom", join(dir, "phantom"), "--volumes", "24", "--seed", "7", "-q");
    cmir(
      "add",
      "-q",
      join(dir, "archive"),
      join(dir, "phantom/volumes"),
      "--labels",
      join(dir, "phantom/labels.csv"),
    );
    mkdirSync(join(dir, "done"));
  }
  return {
    archive: join(dir, "archive"),
    queries: join(dir, "phantom/queries"),
    volumes: join(dir, "phantom/volumes"),
    truth: readFileSync(join(dir, "phantom/truth.csv"), "utf8")
      .trim()
      .split("\n")
      .slice(1)
      .map((l) => l.split(",")),
  };
}

/** A copy that a test may change. */
export function copyOf(archive, name) {
  const dir = join(OUT, name);
  rmSync(dir, { recursive: true, force: true });
  cpSync(archive, dir, { recursive: true, filter: (path) => !path.endsWith("/service") });
  return dir;
}

/** Two real scans, or null where the folder of real data is not there. */
export function realScans() {
  const torso = join(SHARED, "data/ct/torso");
  if (!existsSync(torso)) return null;
  const names = readdirSync(torso)
    .filter((n) => n.endsWith(".nii.gz"))
    .sort()
    .slice(0, 2);
  return names.length === 2 ? names.map((n) => join(torso, n)) : null;
}

export function addUser(state, name, role, password) {
  execFileSync(CMIR, ["user", "add", state, name, "--role", role], {
    input: `${password}\n`,
    stdio: ["pipe", "ignore", "inherit"],
  });
}

/** Starts `cmir serve`; {url, stop()}. */
export async function serve(archive, ...options) {
  const child = spawn(
    CMIR,
    ["serve", archive, "--listen", "127.0.0.1:0", "--requests-per-minute", "100000", ...options],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
  let said = "";
  let log = "";
  child.stderr.on("data", (data) => (log = (log + data).slice(-20000)));
  const url = await new Promise((resolve, reject) => {
    child.stdout.on("data", (data) => {
      said += data;
      const match = /serving at (\S+)/.exec(said);
      if (match) resolve(match[1].replace(/\/$/, ""));
    });
    child.on("exit", (code) => reject(new Error(`cmir serve ended with ${code}: ${log}`)));
  });
  const ended = new Promise((done) => child.on("exit", (code) => done(code)));
  return {
    url,
    log: () => log,
    stop: () => {
      child.kill("SIGTERM");
      return ended;
    },
  };
}
