// Brings the parts together: who is logged in, the connection, the list, the open chat.

import { $, avatar, icon } from "./dom.js";
import { askFor } from "./dialog.js";
import { showLogin } from "./login.js";
import { Link, freshKey, post } from "./net.js";
import { Conversation } from "./conversation.js";
import { Outbox } from "./outbox.js";
import { Sidebar } from "./sidebar.js";

/** Told only when it lasts: a blink of the network needs no banner. */
const BANNER_AFTER = 600;

function decorate() {
  const icons = { logout: "logout", back: "back", leave: "leave", "show-members": "members", "hide-members": "close", "context-cancel": "close", send: "send" };
  for (const [id, name] of Object.entries(icons)) $(id).replaceChildren(icon(name));
  document.querySelector("#new-room .glyph").replaceWith(icon("plus"));
  document.querySelector("#new-direct .glyph").replaceWith(icon("at"));
}

class Page {
  #link = new Link();
  #bannerTimer = null;
  #sidebar = null;
  #conversation = null;
  #outbox = null;
  #user;

  constructor(user) {
    this.#user = user;
    $("me").replaceChildren(avatar(user), document.createTextNode(user));
    $("app").hidden = false;
    this.#view();
    this.#link.addEventListener("online", ({ detail }) => this.#online(detail));
    this.#link.addEventListener("offline", () => this.#bannerSoon("Connection lost. Reconnecting…"));
    this.#link.addEventListener("push", ({ detail }) => this.#pushed(detail));
    this.#link.addEventListener("session", () => this.#over("Your session has ended. Please log in again."));
    $("logout").onclick = () => this.#logout();
    $("back").onclick = () => go(null);
    $("new-room").onclick = () => this.#newRoom();
    $("new-direct").onclick = () => this.#newDirect();
    onhashchange = () => this.#route();
    this.#bannerSoon("Connecting…");
    this.#link.start();
  }

  #online(hello) {
    this.#banner("");
    if (hello.user !== this.#user) return location.reload();
    if (!this.#conversation) this.#build(hello);
    this.#conversation.follow();
    this.#outbox.flushAll();
    this.#sidebar.load().then(() => this.#route(), () => {});
  }

  #build(hello) {
    const { user, assistant } = hello;
    this.#outbox = new Outbox(user, this.#link, (changed) => this.#conversation.pending(changed));
    this.#sidebar = new Sidebar(this.#link, user, assistant, {
      select: go,
      enter: (entered) => this.#enter(entered),
      changed: (chat) => this.#conversation.summary(chat),
    });
    this.#conversation = new Conversation(this.#link, this.#outbox, hello, {
      message: (other) => this.#direct(other).catch((error) => this.#banner(error.message)),
      left: (left, note) => this.#left(left, note),
    });
    this.#outbox.flushAll();
  }

  #pushed(said) {
    if (said.push === "chat") this.#sidebar.put(said.chat);
    else if (said.push === "chat_gone") this.#sidebar.drop(said.room);
    else if (said.push === "rooms") this.#sidebar.roomsChanged();
    else if (said.push === "relist") this.#sidebar.load().catch(() => {});
    else this.#conversation.pushed(said);
  }

  /** The address says which chat is open, so that reloading and going back work. */
  #route() {
    const wanted = decodeURIComponent(/^#\/chat\/(.+)$/.exec(location.hash)?.[1] ?? "");
    this.#view();
    if (!this.#conversation) return;
    if (wanted) this.#conversation.select(wanted);
    else if (this.#wide && this.#sidebar.first) return go(this.#sidebar.first.room, true);
    else this.#conversation.clear();
    this.#sidebar.mark(wanted || null);
  }

  /** Small screens show the list or the chat. */
  #view() {
    document.body.dataset.view = location.hash.startsWith("#/chat/") ? "chat" : "list";
  }

  get #wide() {
    return matchMedia("(min-width: 721px)").matches;
  }

  async #enter(entered) {
    try {
      await this.#link.ask("join", { room: entered, command_id: freshKey() }, { keep: true });
      go(entered);
    } catch (error) {
      this.#banner(error.message);
    }
  }

  #left(left, note) {
    this.#sidebar.drop(left);
    if (this.#conversation.room !== left) return;
    this.#conversation.clear();
    go(null, true);
    if (note) this.#banner(note);
  }

  async #direct(user) {
    const { room: opened } = await this.#link.ask("open_direct", { user });
    go(opened);
  }

  #newRoom() {
    const command_id = freshKey();
    askFor({
      title: "New room", text: "Everybody can enter it.", label: "Name of the room", maxlength: 60, ok: "Create room",
      done: async (name) => {
        const { room: made } = await this.#link.ask("create_room", { name, command_id });
        go(made);
      },
    });
  }

  #people() {
    const known = [...(this.#sidebar?.people() ?? []), ...(this.#conversation?.people() ?? [])];
    return [...new Set(known)].sort();
  }

  #newDirect() {
    askFor({
      title: "Message someone", text: "Only the two of you see what you write. Your own name opens notes to yourself.", label: "Name", maxlength: 32, people: this.#people(), ok: "Open chat",
      done: (name) => this.#direct(name.toLowerCase().replace(/^@/, "")),
    });
  }

  async #logout() {
    await post("/api/logout").catch(() => {});
    this.#over("");
  }

  #over(note) {
    this.#link.stop();
    if (!note) this.#outbox?.clear();
    // A fresh page: nothing of this user stays in memory.
    sessionStorage.setItem("chatroom-note", note);
    history.replaceState(null, "", location.pathname);
    location.reload();
  }

  #bannerSoon(text) {
    this.#bannerTimer ??= setTimeout(() => this.#banner(text), BANNER_AFTER);
  }

  #banner(text) {
    clearTimeout(this.#bannerTimer);
    this.#bannerTimer = null;
    $("banner").hidden = text === "";
    $("banner").textContent = text;
  }
}

function go(chat, replace = false) {
  const hash = chat ? `#/chat/${encodeURIComponent(chat)}` : location.pathname;
  if (replace) history.replaceState(null, "", hash);
  else if (location.hash !== hash) history.pushState(null, "", hash);
  dispatchEvent(new Event("hashchange"));
}

async function start() {
  decorate();
  const note = sessionStorage.getItem("chatroom-note") ?? "";
  sessionStorage.removeItem("chatroom-note");
  const enter = (user) => new Page(user);
  try {
    const { user } = await (await fetch("/api/me")).json();
    if (user) enter(user);
    else showLogin(enter, note);
  } catch {
    showLogin(enter, "The server does not answer. Reload the page to try again.");
  }
}

start();
