// The form that logs in or makes an account.

import { $ } from "./dom.js";
import { post } from "./net.js";

let registering = false;

/** Shows the form; `entered(user)` is called when somebody is logged in. */
export function showLogin(entered, note = "") {
  $("app").hidden = true;
  $("login").hidden = false;
  document.title = "Chat room";
  mode(registering);
  $("login-error").textContent = note;
  $("mode-login").onclick = () => mode(false);
  $("mode-register").onclick = () => mode(true);
  $("login-form").onsubmit = (event) => {
    event.preventDefault();
    submit(entered);
  };
  $("name").focus();
}

function mode(register) {
  registering = register;
  $("mode-login").setAttribute("aria-pressed", String(!register));
  $("mode-register").setAttribute("aria-pressed", String(register));
  $("name-hint").hidden = !register;
  $("password-hint").hidden = !register;
  $("password").autocomplete = register ? "new-password" : "current-password";
  $("login-submit").textContent = register ? "Create account" : "Log in";
  $("login-error").textContent = "";
}

async function submit(entered) {
  const name = $("name").value.trim().toLowerCase();
  const password = $("password").value;
  $("login-error").textContent = "";
  $("login-submit").disabled = true;
  try {
    const { user } = await post(registering ? "/api/register" : "/api/login", { name, password });
    $("login-form").reset();
    mode(false);
    $("login").hidden = true;
    entered(user);
  } catch (error) {
    $("login-error").textContent = error.message;
  } finally {
    $("login-submit").disabled = false;
  }
}
