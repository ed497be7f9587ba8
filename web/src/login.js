// SPDX-License-Identifier: Apache-2.0
// login.js: asks who it is, where the service has users; then the view goes on as it was.

import { h, field } from "./dom.js";
import { post } from "./api.js";

export function loginScreen(onDone) {
  const user = h("input", {
    type: "text",
    autocomplete: "username",
    required: true,
    autocapitalize: "off",
    spellcheck: "false",
    name: "user",
  });
  const password = h("input", {
    type: "password",
    autocomplete: "current-password",
    required: true,
    name: "password",
  });
  const problem = h("p", { class: "warning", role: "alert" });
  const submit = h("button", { type: "submit", class: "primary" }, "Log in");
  const form = h(
    "form",
    {
      class: "login",
      async onsubmit(event) {
        event.preventDefault();
        submit.disabled = true;
        problem.textContent = "";
        try {
          await post("session", { User: user.value, Password: password.value });
          onDone();
        } catch (error) {
          problem.textContent = error.status === 401 ? "User or password is wrong." : error.message;
          password.value = "";
          password.focus();
        } finally {
          submit.disabled = false;
        }
      },
    },
    h("h1", {}, "cmir"),
    h("p", { class: "soft" }, "Similar past cases, and the slices that match."),
    field("User", user),
    field("Password", password),
    problem,
    submit,
    h("p", { class: "notice" }, "Research use only, not for diagnosis."),
  );
  setTimeout(() => user.focus());
  return h("main", { class: "loginscreen", id: "main", tabindex: -1 }, form);
}
