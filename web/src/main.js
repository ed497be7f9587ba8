// SPDX-License-Identifier: Apache-2.0
// main.js: the frame around the screens.  The address (view.js) says which screen is there and what it
// shows; go() changes it, Back and Forward do too.

import { h, button, toast } from "./dom.js";
import { events, get, remove } from "./api.js";
import { formatView, parseView } from "./view.js";
import { ArchiveScreen } from "./archive.js";
import { CaseScreen } from "./case.js";
import { loginScreen } from "./login.js";
import { filesOf } from "./dropped.js";
import { addUpload, uploadQuery } from "./upload.js";
import { showCohorts } from "./cohorts.js";
import { help, listen } from "./keys.js";
import { applyTheme, toggleTheme } from "./theme.js";

const ROLES = ["none", "reader", "contributor", "admin"];
const WRITE_MS = 200; // browsers limit how often an address may change

const app = {
  system: null,
  labels: [],
  case: null,
  may: (role) => ROLES.indexOf(app.system?.Role) >= ROLES.indexOf(role),
  reload: start,

  /** Shows a view.  push: as a new step of the history.  quiet: it is shown already. */
  go(view, { push = false, quiet = false } = {}) {
    clearTimeout(app.writing);
    const write = () => history[push ? "pushState" : "replaceState"](null, "", formatView(view));
    if (push) write();
    else app.writing = setTimeout(write, WRITE_MS);
    if (!quiet) show(view);
  },
};

const bar = {
  where: h("nav", { "aria-label": "Where" }),
  user: h("span", { class: "user" }),
  progress: h("div", { class: "busy", hidden: true }),
  offline: h(
    "p",
    { class: "offline", role: "alert", hidden: true },
    "No network: what is on the screen stays, nothing new can be had.",
  ),
};
const place = h("div", { id: "screen" });
let screen = null;

function frame() {
  const cohorts = button("Cohorts", () => showCohorts().catch((e) => toast(e.message, "error")), {
    class: "quiet",
  });
  document.getElementById("app").replaceChildren(
    h(
      "a",
      {
        class: "skip",
        href: "#main",
        onclick: (e) => {
          e.preventDefault();
          document.getElementById("main")?.focus();
        },
      },
      "Skip to the content",
    ),
    h(
      "header",
      { class: "top" },
      h("a", { class: "brand", href: "#/" }, "cmir"),
      bar.where,
      h("p", { class: "notice" }, "Research use only, not for diagnosis"),
      h(
        "div",
        { class: "right" },
        cohorts,
        button("◐", toggleTheme, {
          class: "quiet icon",
          "aria-label": "Light or dark",
          title: "Light or dark",
        }),
        button("?", help, {
          class: "quiet icon",
          "aria-label": "Keyboard and mouse",
          title: "Keyboard and mouse (?)",
        }),
        bar.user,
      ),
      bar.progress,
    ),
    bar.offline,
    place,
    h("div", { id: "toast", role: "status" }),
    h("div", { id: "live", class: "sr", "aria-live": "polite" }),
  );
}

function showWhere(view) {
  const { Archive } = app.system;
  const total = `${Archive.Volumes} volumes`;
  bar.where.replaceChildren(
    h(
      "a",
      { href: "#/", "aria-current": view.screen === "archive" ? "page" : null },
      "Archive ",
      h("small", {}, total),
    ),
  );
  if (view.upload && app.may("contributor"))
    bar.where.append(
      button("Add this scan to the archive", () =>
        addUpload(app, view.upload).catch((e) => toast(e.message, "error")),
      ),
    );
}

function show(view, navigated = false) {
  const Screen = view.screen === "case" ? CaseScreen : ArchiveScreen;
  if (!(screen instanceof Screen)) {
    screen?.close?.();
    screen = new Screen(app);
    place.replaceChildren(screen.element);
  }
  app.case = view.screen === "case" ? screen : null;
  if (navigated || screen.shownUpload !== view.upload) showWhere(view);
  screen.shownUpload = view.upload;
  return screen.show(view, { navigated });
}

function showUser() {
  const { User, Role, LoginRequired } = app.system;
  bar.user.replaceChildren();
  if (!LoginRequired) return;
  bar.user.append(
    h("span", { class: "soft", title: Role }, `${User} · ${Role}`),
    button(
      "Log out",
      async () => {
        try {
          await remove("session");
        } catch (error) {
          if (error.status !== 401) return toast(`Not logged out: ${error.message}`, "error");
        }
        askLogin();
      },
      { class: "quiet" },
    ),
  );
}

function askLogin() {
  screen?.close?.();
  screen = null;
  app.case = null;
  document.body.classList.add("loggedout");
  document.querySelectorAll("dialog").forEach((d) => d.close());
  document.title = "cmir";
  place.replaceChildren(loginScreen(start));
}

function unreachable(error) {
  place.replaceChildren(
    h(
      "main",
      { class: "loginscreen", id: "main" },
      h(
        "div",
        { class: "failed", role: "alert" },
        h("h1", {}, "The service does not answer"),
        h("p", {}, error.message),
        button("Try again", start, { class: "primary" }),
      ),
    ),
  );
}

async function start() {
  try {
    app.system = await get("system");
    app.labels = (await get("labels").catch(() => ({ Labels: [] }))).Labels;
  } catch (error) {
    if (error.status !== 401) unreachable(error);
    return;
  }
  document.body.classList.remove("loggedout");
  screen?.close?.();
  screen = null;
  showUser();
  show(parseView(location.hash), true);
}

function listenToDrops() {
  let depth = 0;
  const over = (on) => document.body.classList.toggle("dropping", on);
  window.addEventListener(
    "dragenter",
    (e) => e.dataTransfer?.types.includes("Files") && over(++depth > 0),
  );
  window.addEventListener(
    "dragleave",
    (e) => e.dataTransfer?.types.includes("Files") && over(--depth > 0),
  );
  window.addEventListener("dragover", (e) => e.preventDefault());
  window.addEventListener("drop", async (event) => {
    event.preventDefault();
    depth = 0;
    over(false);
    if (!app.system || document.querySelector("dialog[open]")) return;
    try {
      await uploadQuery(app, await filesOf(event.dataTransfer));
    } catch (error) {
      toast(error.message, "error");
    }
  });
}

applyTheme();
frame();
listen(app);
listenToDrops();
window.addEventListener(
  "popstate",
  () =>
    app.system &&
    !document.body.classList.contains("loggedout") &&
    show(parseView(location.hash), true),
);
for (const name of ["online", "offline"])
  window.addEventListener(name, () => (bar.offline.hidden = navigator.onLine));
events.addEventListener("login", askLogin);
let busyTimer;
events.addEventListener("busy", ({ detail }) => {
  clearTimeout(busyTimer);
  if (detail === 0) bar.progress.hidden = true;
  else busyTimer = setTimeout(() => (bar.progress.hidden = false), 300);
});
start();
