// The one dialog of the page: asks for a word, or for a yes.

import { $, el } from "./dom.js";

/**
 * Asks. `done(value)` may throw to keep the dialog open with the error's message; without `label`
 * there is nothing to type.
 */
export function askFor({ title, text = "", label = null, maxlength = 100, people = [], ok, danger = false, done }) {
  const dialog = $("dialog");
  $("dialog-title").textContent = title;
  $("dialog-text").textContent = text;
  $("dialog-field").hidden = label === null;
  $("dialog-label").textContent = label ?? "";
  $("dialog-error").textContent = "";
  $("dialog-ok").textContent = ok;
  $("dialog-ok").classList.toggle("danger", danger);
  const input = $("dialog-input");
  input.value = "";
  input.maxLength = maxlength;
  input.required = label !== null;
  $("people").replaceChildren(...people.map((name) => el("option", { value: name })));
  $("dialog-cancel").onclick = () => dialog.close();
  $("dialog-form").onsubmit = async (event) => {
    event.preventDefault();
    $("dialog-ok").disabled = true;
    try {
      await done(input.value.trim());
      dialog.close();
    } catch (error) {
      $("dialog-error").textContent = error.message;
    } finally {
      $("dialog-ok").disabled = false;
    }
  };
  dialog.onclose = () => {
    // Chromium gives the focus back without the caret: what is typed then goes nowhere.
    const back = document.activeElement;
    back?.blur();
    back?.focus({ preventScroll: true });
  };
  dialog.showModal();
  (label === null ? $("dialog-ok") : input).focus();
}
