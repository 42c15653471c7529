// The form for a name and a password.

import { logIn } from "./api.js";
import { el, given } from "./dom.js";

/** message: why it is shown, or "". onDone: called once the login counts. */
export function loginForm(message, onDone) {
  const name = el("input", { id: "name", name: "name", autocomplete: "username", autocapitalize: "none", required: true });
  const password = el("input", {
    id: "password",
    name: "password",
    type: "password",
    autocomplete: "current-password",
    required: true,
  });
  const button = el("button", { type: "submit", class: "main" }, "Log in");
  const said = el("p", { role: "alert", class: "error" }, message);

  async function submit(event) {
    event.preventDefault();
    button.disabled = true;
    said.replaceChildren();
    try {
      await logIn(name.value, password.value);
      password.value = "";
      onDone();
    } catch (problem) {
      said.replaceChildren(given(problem.message));
      password.select();
    } finally {
      button.disabled = false;
    }
  }

  return el(
    "form",
    { class: "login", on: { submit } },
    el("h1", {}, "Log in"),
    el("label", { for: "name" }, "Name"),
    name,
    el("label", { for: "password" }, "Password"),
    password,
    said,
    button,
  );
}
