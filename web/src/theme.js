// SPDX-License-Identifier: Apache-2.0
// theme.js: dark, as reading rooms are, until the reader chooses light.  What the system prefers is not asked:
// most say "light" without anybody having chosen it.

const KEY = "cmir-theme";

function stored() {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null; // storage may be forbidden
  }
}

export function applyTheme(theme = stored()) {
  document.documentElement.dataset.theme = theme === "light" ? "light" : "dark";
}

export function toggleTheme() {
  const theme = document.documentElement.dataset.theme === "light" ? "dark" : "light";
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    // Then it lasts as long as the page.
  }
  applyTheme(theme);
}
