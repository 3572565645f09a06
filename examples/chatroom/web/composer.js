// Where a message is written: new, as an answer, or as a new text of an old one.

import { $, avatar, el } from "./dom.js";
import { mentionsIn } from "./text.js";

const TYPING_EVERY = 3_000;
const TYPING_ENDS = 5_000;
const MOST_SUGGESTIONS = 6;

export class Composer {
  #text = $("text");
  #room = null;
  #drafts = new Map();
  #reply = null;
  #editing = null;
  #typingSince = 0;
  #typingTimer = null;
  #choice = 0;
  #does;
  #limit;

  /** `does`: names() → names that can be mentioned, send, edit, typing(on), lastOwn() → message. */
  constructor(limit, does) {
    this.#limit = limit;
    this.#does = does;
    // On a phone the return key makes a new line, and the button sends.
    this.coarse = matchMedia("(pointer: coarse)").matches;
    if (this.coarse) this.#text.enterKeyHint = "enter";
    $("composer").onsubmit = (event) => {
      event.preventDefault();
      this.#submit();
    };
    $("context-cancel").onclick = () => this.#cancel();
    this.#text.onkeydown = (event) => this.#key(event);
    this.#text.oninput = () => this.#changed();
    this.#text.onblur = () => this.#suggest([]);
    this.#text.onclick = () => this.#suggestNow();
  }

  /** Goes to another chat; what was written so far waits there. */
  enter(room) {
    this.#stopTyping();
    if (this.#room && !this.#editing) this.#drafts.set(this.#room, this.#text.value);
    this.#room = room;
    this.#context(null, null);
    this.#set(this.#drafts.get(room) ?? "");
    this.#error("");
  }

  focus() {
    if (!this.coarse) this.#text.focus();
  }

  reply(message) {
    if (this.#editing) this.#set("");
    this.#context(message, null);
    this.#text.focus();
  }

  edit(message) {
    this.#context(null, message);
    this.#set(message.text);
    this.#text.focus();
    this.#text.setSelectionRange(message.text.length, message.text.length);
  }

  /** The message that is being answered or edited is gone. */
  gone(id) {
    if (this.#editing?.id === id || this.#reply?.id === id) this.#cancel();
  }

  #submit() {
    const text = this.#text.value;
    if (text.trim() === "") return;
    const length = [...text].length;
    if (length > this.#limit) {
      this.#error(`A message has at most ${this.#limit} characters; this one has ${length}.`);
      return;
    }
    const found = mentionsIn(text, (name) => name === "all" || this.#does.names().includes(name));
    const mention_all = found.delete("all");
    const parts = { text, mentions: [...found], mention_all };
    if (this.#editing) this.#does.edit(this.#editing, parts);
    else this.#does.send({ ...parts, reply_to: this.#reply ? { message: this.#reply.id, seq: this.#reply.seq } : undefined });
    this.#stopTyping();
    this.#context(null, null);
    this.#set("");
    this.#error("");
  }

  #cancel() {
    if (this.#editing) this.#set("");
    this.#context(null, null);
    this.#text.focus();
  }

  #context(reply, editing) {
    this.#reply = reply;
    this.#editing = editing;
    $("context").hidden = !reply && !editing;
    $("context-text").textContent = editing ? "Editing your message" : reply ? `Answering ${reply.author}: ${reply.text.slice(0, 140)}` : "";
  }

  #set(text) {
    this.#text.value = text;
    this.#suggest([]);
    this.#grow();
  }

  #grow() {
    this.#text.style.height = "auto";
    this.#text.style.height = `${Math.min(this.#text.scrollHeight, 200)}px`;
  }

  #changed() {
    this.#grow();
    this.#error("");
    this.#suggestNow();
    if (this.#text.value.trim() === "" || this.#editing) this.#stopTyping();
    else this.#startTyping();
  }

  #key(event) {
    if (event.isComposing) return;
    const suggestions = $("suggestions").children;
    if (suggestions.length && this.#suggestionKey(event, suggestions)) {
      event.preventDefault();
    } else if (event.key === "Enter" && !event.shiftKey && !this.coarse) {
      event.preventDefault();
      this.#submit();
    } else if (event.key === "Escape" && (this.#reply || this.#editing)) {
      event.preventDefault();
      this.#cancel();
    } else if (event.key === "ArrowUp" && this.#text.value === "" && !this.#editing) {
      const message = this.#does.lastOwn();
      if (!message) return;
      event.preventDefault();
      this.edit(message);
    }
  }

  #suggestionKey({ key }, { length }) {
    if (key === "ArrowDown" || key === "ArrowUp") {
      this.#choice = (this.#choice + (key === "ArrowDown" ? 1 : length - 1)) % length;
      this.#mark();
    } else if (key === "Enter" || key === "Tab") {
      this.#take($("suggestions").children[this.#choice].dataset.name);
    } else if (key === "Escape") {
      this.#suggest([]);
    } else {
      return false;
    }
    return true;
  }

  /** The "@na" that stands before the caret, if there is one. */
  #begun() {
    const before = this.#text.value.slice(0, this.#text.selectionStart);
    return /(?:^|[^\w.])@([a-z0-9._-]*)$/i.exec(before)?.[1].toLowerCase();
  }

  #suggestNow() {
    const begun = this.#begun();
    if (begun === undefined) return this.#suggest([]);
    const names = [...this.#does.names(), "all"].filter((name) => name.startsWith(begun) && name !== begun);
    this.#suggest(names.slice(0, MOST_SUGGESTIONS));
  }

  #suggest(names) {
    this.#choice = 0;
    $("suggestions").hidden = names.length === 0;
    this.#text.setAttribute("aria-expanded", String(names.length > 0));
    $("suggestions").replaceChildren(...names.map((name, index) => {
      const label = name === "all" ? "everyone here" : "";
      return el("li", {
        role: "option", id: `suggestion-${index}`, data: { name },
        // Before the text loses its focus.
        onpointerdown: (event) => {
          event.preventDefault();
          this.#take(name);
        },
      }, avatar(name), el("span", {}, name), el("small", {}, label));
    }));
    this.#mark();
  }

  #mark() {
    const options = [...$("suggestions").children];
    options.forEach((option, index) => option.setAttribute("aria-selected", String(index === this.#choice)));
    if (options.length) this.#text.setAttribute("aria-activedescendant", `suggestion-${this.#choice}`);
    else this.#text.removeAttribute("aria-activedescendant");
  }

  #take(name) {
    const caret = this.#text.selectionStart;
    const start = caret - (this.#begun() ?? "").length;
    this.#text.setRangeText(`${name} `, start, caret, "end");
    this.#changed();
  }

  #startTyping() {
    clearTimeout(this.#typingTimer);
    this.#typingTimer = setTimeout(() => this.#stopTyping(), TYPING_ENDS);
    if (Date.now() - this.#typingSince < TYPING_EVERY) return;
    this.#typingSince = Date.now();
    this.#does.typing(this.#room, true);
  }

  #stopTyping() {
    clearTimeout(this.#typingTimer);
    if (!this.#typingSince) return;
    this.#typingSince = 0;
    this.#does.typing(this.#room, false);
  }

  #error(text) {
    $("composer-error").textContent = text;
  }
}
