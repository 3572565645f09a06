// The list of my chats, newest activity first, and the rooms that I could enter.

import { $, Rows, avatar, el, soon } from "./dom.js";
import { chatName, listTime } from "./format.js";

const PAGE = 50;

export class Sidebar {
  #chatRows = new Rows($("chats"));
  #roomRows = new Rows($("rooms"));
  #chats = new Map();
  #rooms = [];
  #next = null;
  #current = null;
  #link;
  #me;
  #assistant;
  #does;
  #draw = soon(() => this.#drawNow());
  #loadRooms = soon(() => this.#loadRoomsNow());

  /** `does`: select(room), enter(room), changed(chat). */
  constructor(link, me, assistant, does) {
    this.#link = link;
    this.#me = me;
    this.#assistant = assistant;
    this.#does = does;
    $("more-chats").onclick = () => this.#more();
  }

  chat(room) {
    return this.#chats.get(room);
  }

  get first() {
    return this.#sorted()[0];
  }

  /** Everybody whom the list shows me. */
  people() {
    return [...this.#chats.values()].flatMap((chat) => chat.others);
  }

  mark(room) {
    this.#current = room;
    this.#draw();
  }

  /** Reads the list anew: at the start and after each break. */
  async load() {
    const [page] = await Promise.all([this.#link.ask("chats", { limit: PAGE }), this.#loadRoomsNow()]);
    this.#chats = new Map(page.chats.map((chat) => [chat.room, chat]));
    this.#next = page.next;
    for (const chat of page.chats) this.#does.changed(chat);
    this.#drawNow();
  }

  put(chat) {
    this.#chats.set(chat.room, chat);
    this.#does.changed(chat);
    this.#draw();
    if (this.#rooms.some((room) => room.room === chat.room)) this.#loadRooms();
  }

  drop(room) {
    if (!this.#chats.delete(room)) return;
    this.#draw();
    this.#loadRooms();
  }

  roomsChanged() {
    this.#loadRooms();
  }

  async #more() {
    if (!this.#next) return;
    const page = await this.#link.ask("chats", { limit: PAGE, after: this.#next }).catch(() => null);
    if (!page) return;
    for (const chat of page.chats) this.#chats.set(chat.room, chat);
    this.#next = page.next;
    this.#drawNow();
  }

  async #loadRoomsNow() {
    try {
      this.#rooms = (await this.#link.ask("rooms")).rooms;
      this.#draw();
    } catch {
      // Without a connection there is nothing to enter; it is asked again when it is back.
    }
  }

  #sorted() {
    return [...this.#chats.values()].sort((a, b) => b.activity - a.activity || (a.room < b.room ? -1 : 1));
  }

  #drawNow() {
    const chats = this.#sorted();
    this.#chatRows.draw(chats.map((chat) => ({
      key: chat.room,
      sig: `${chat.room === this.#current}|${listTime(chat.activity)}|${JSON.stringify({ ...chat, version: 0, read: 0 })}`,
      make: () => this.#entry(chat),
    })));
    $("more-chats").hidden = !this.#next;
    const rooms = this.#rooms.filter((room) => !this.#chats.has(room.room));
    $("rooms-section").hidden = rooms.length === 0;
    this.#roomRows.draw(rooms.map((room) => ({
      key: room.room,
      sig: JSON.stringify(room),
      make: () => this.#room(room),
    })));
    const unread = chats.reduce((sum, chat) => sum + (chat.unread > 0 ? chat.unread : 0), 0);
    const name = this.#current && this.#chats.has(this.#current) ? `${chatName(this.#chats.get(this.#current), this.#me)} · ` : "";
    document.title = `${unread ? `(${unread}) ` : ""}${name}Chat room`;
  }

  #entry(chat) {
    const name = chatName(chat, this.#me);
    const direct = chat.kind === "direct";
    const current = chat.room === this.#current;
    const badges = el("span", { class: "badges" });
    if (chat.mentions) badges.append(el("span", { class: "badge at", title: `${chat.mentions} mentions`, "aria-label": `${chat.mentions} mentions` }, "@"));
    if (chat.unread) badges.append(el("span", { class: "badge", "aria-label": `${chat.unread} unread` }, chat.unread > 999 ? "999+" : String(chat.unread)));
    else if (chat.marked_unread) badges.append(el("span", { class: "badge dot", "aria-label": "marked as unread" }));
    const classes = ["chat", chat.unread || chat.marked_unread ? "unread" : "", current ? "current" : ""].join(" ").trim();
    return el("li", {}, el("button", { type: "button", class: classes, data: { room: chat.room }, "aria-current": current ? "true" : null, onclick: () => this.#does.select(chat.room) },
      avatar(name, { room: !direct && chat.kind !== "self", bot: direct && chat.others.length === 1 && chat.others[0] === this.#assistant }),
      el("span", { class: "name", dir: "auto" }, name), el("time", {}, listTime(chat.activity)),
      el("span", { class: "preview", dir: "auto" }, this.#preview(chat)), badges));
  }

  #preview({ preview, kind }) {
    if (!preview) return kind === "group" ? "No messages yet" : "Say hello";
    const text = preview.text.replace(/\s+/g, " ");
    if (preview.author === this.#me) return `You: ${text}`;
    return kind === "group" ? `${preview.author}: ${text}` : text;
  }

  #room({ room, name, members }) {
    const size = members === 1 ? "1 member" : `${members} members`;
    return el("li", {}, el("button", { type: "button", class: "chat", data: { room }, onclick: () => this.#does.enter(room) },
      avatar(name, { room: true }), el("span", { class: "name", dir: "auto" }, name), el("span", { class: "preview" }, size),
      el("span", { class: "enter" }, "Enter")));
  }
}
