// Draws the messages of one chat, and says what somebody does with them.

import { $, Rows, avatar, el, icon } from "./dom.js";
import { clockTime, dayKey, dayName, fullTime, people, shortTime } from "./format.js";
import { textNodes } from "./text.js";

const QUICK_PICKS = ["👍", "❤️", "😂", "🎉", "😮", "😢"];
const GROUP_WITHIN = 5 * 60_000;
const NEAR_END = 48;
const NEAR_START = 300;

export class Timeline {
  #box = $("timeline");
  #list = $("messages");
  #rowsDrawn = new Rows($("messages"));
  #chat = null;
  #picking = null;
  #active = null;
  #does;
  #me;
  #assistant;

  /** `does` has the actions: older, end, reply, edit, remove, react, jump, quote, retry, discard. */
  constructor(me, assistant, does) {
    this.#me = me;
    this.#assistant = assistant;
    this.#does = does;
    this.atEnd = true;
    this.#box.onscroll = () => this.#scrolled();
    this.#list.onclick = (event) => this.#clicked(event);
    this.#list.onkeydown = (event) => event.key === "Escape" && this.#pick(null);
    // The composer grows, the keyboard opens: the newest message stays in sight.
    new ResizeObserver(() => this.atEnd && this.toEnd()).observe(this.#box);
  }

  /** Shows another chat. */
  show(chat) {
    this.#chat = chat;
    this.#picking = null;
    this.#active = null;
    this.#rowsDrawn.clear();
    this.atEnd = true;
  }

  draw(pending, unreadAfter) {
    const chat = this.#chat;
    if (!chat) return;
    $("beginning").hidden = !chat.loaded || !chat.foundOldest;
    const anchor = this.atEnd ? null : this.#anchor();
    this.#rowsDrawn.draw(this.#rows(chat, pending, unreadAfter));
    if (this.atEnd) this.toEnd();
    else if (anchor) this.#box.scrollTop += anchor.row.getBoundingClientRect().top - anchor.top;
    this.#scrolled();
  }

  toEnd() {
    this.#box.scrollTop = this.#box.scrollHeight;
    this.#scrolled();
  }

  /** Brings a message into sight, if it is loaded. */
  reveal(seq) {
    const row = this.#list.querySelector(`[data-seq="${Number(seq)}"]`);
    if (!row) return false;
    this.atEnd = false;
    row.scrollIntoView({ block: "center" });
    row.classList.add("found");
    setTimeout(() => row.classList.remove("found"), 1_600);
    return true;
  }

  revealUnread() {
    const row = this.#list.querySelector(".unread-line");
    if (!row) return false;
    this.atEnd = false;
    row.scrollIntoView({ block: "start" });
    return true;
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#box;
    this.atEnd = scrollHeight - scrollTop - clientHeight < NEAR_END;
    $("jump-latest").hidden = this.atEnd;
    if (this.atEnd) this.#does.end();
    if (scrollTop < NEAR_START) this.#does.older();
  }

  /** The first row in sight, to keep it where it is. */
  #anchor() {
    const top = this.#box.getBoundingClientRect().top;
    for (const row of this.#list.children) {
      const box = row.getBoundingClientRect();
      if (box.bottom > top) return { row, top: box.top };
    }
    return null;
  }

  *#rows(chat, pending, unreadAfter) {
    let last = null;
    let unreadShown = false;
    for (const entry of chat.sorted()) {
      const newDay = !last || dayKey(last.sent_at) !== dayKey(entry.sent_at);
      if (newDay) yield dayRow(entry.sent_at);
      const unread = unreadAfter !== null && entry.seq > unreadAfter && !entry.notice && entry.author !== this.#me;
      if (unread && !unreadShown) yield unreadRow(unreadAfter);
      const joined = !newDay && !(unread && !unreadShown) && this.#belongs(last, entry);
      unreadShown ||= unread;
      yield entry.notice ? noticeRow(entry) : this.#messageRow(chat, entry, joined);
      last = entry;
    }
    for (const echo of pending) {
      const entry = { ...echo, pending: true, author: this.#me, sent_at: echo.written_at, reactions: {} };
      yield this.#messageRow(chat, entry, this.#belongs(last, entry));
      last = entry;
    }
  }

  #belongs(last, entry) {
    return Boolean(last) && !last.notice && !entry.notice && !entry.reply_to && last.author === entry.author
      && entry.sent_at - last.sent_at < GROUP_WITHIN && !last.deleted;
  }

  #messageRow(chat, message, joined) {
    const quoted = message.reply_to ? chat.message(message.reply_to.seq) : null;
    const key = message.author === this.#me && message.client_message_id ? message.client_message_id : message.id;
    const picking = this.#picking === message.id;
    const active = this.#active === message.id;
    const state = message.pending ? `${message.acked ?? ""}/${message.failed ?? ""}` : message.at;
    return {
      key: `m:${key}`,
      sig: `${state}|${joined}|${quoted?.at ?? ""}|${picking}|${active}|${chat.about?.kind}`,
      make: () => this.#message(message, { joined, quoted, picking, active }),
    };
  }

  #message(message, { joined, quoted, picking, active }) {
    const mine = message.author === this.#me;
    const classes = ["message"];
    if (joined) classes.push("joined");
    if (mine) classes.push("own");
    if (message.pending) classes.push(message.failed ? "failed" : "pending");
    if (active || picking) classes.push("active");
    if (this.#mentionsMe(message)) classes.push("to-me");
    const bot = message.author === this.#assistant;
    const time = el("time", { title: fullTime(message.sent_at), datetime: new Date(message.sent_at).toISOString() },
      (joined ? shortTime : clockTime)(message.sent_at));
    const body = el("div", { class: "body" });
    if (!joined) {
      body.append(el("p", { class: "who" }, el("span", { class: "author" }, message.author),
        bot && el("span", { class: "badge bot" }, "bot"), time));
    }
    if (message.reply_to) body.append(this.#quote(message.reply_to, quoted));
    body.append(this.#text(message));
    const chips = this.#reactions(message);
    if (chips) body.append(chips);
    if (message.failed) body.append(this.#failure(message));
    const row = el("li", { class: classes.join(" "), data: { seq: message.seq ?? "", id: message.id ?? "", author: message.author } },
      joined ? el("span", { class: "gutter" }, time) : avatar(message.author, { bot }), body);
    if (!message.pending && !message.deleted) row.append(this.#tools(message, mine, picking));
    return row;
  }

  #mentionsMe(message) {
    if (message.author === this.#me || message.deleted) return false;
    return message.mention_all || (message.mentions ?? []).includes(this.#me);
  }

  #text(message) {
    if (message.deleted) {
      const by = message.deleted.by === message.author ? "" : ` by ${message.deleted.by}`;
      return el("p", { class: "text gone" }, `This message was deleted${by}.`);
    }
    const names = (name) => (name === "all" ? message.mention_all : (message.mentions ?? []).includes(name));
    const text = el("p", { class: "text", dir: "auto" }, ...textNodes(message.text, names, this.#me));
    if (!message.edited_at) return text;
    const edited = el("span", { class: "edited", title: `Edited ${fullTime(message.edited_at)}` }, "edited");
    return el("div", { class: "text-and-mark" }, text, edited);
  }

  #quote(reference, quoted) {
    if (!quoted) this.#does.quote(reference);
    const shown = !quoted ? "…" : quoted.deleted ? "Deleted message" : quoted.text.slice(0, 240);
    return el("button", { type: "button", class: "quote", "aria-label": "Go to the message that this answers", onclick: () => this.#does.jump(reference.seq) },
      el("span", { class: "author" }, quoted?.author ?? ""), el("span", { class: "quoted", dir: "auto" }, shown));
  }

  #reactions(message) {
    const keys = Object.keys(message.reactions);
    if (!keys.length) return null;
    return el("p", { class: "reactions" }, ...keys.map((key) => {
      const users = message.reactions[key];
      const mine = users.includes(this.#me);
      const who = people(users);
      return el("button", {
        type: "button", class: "chip", title: who, "aria-pressed": String(mine), data: { focus: `chip ${key}` },
        "aria-label": `${key}: ${who}. ${mine ? "Take mine back" : "React too"}`,
        onclick: () => this.#does.react(message, key, !mine),
      }, el("span", { class: "emoji" }, key), el("span", { class: "count" }, String(users.length)));
    }));
  }

  #failure(message) {
    const { room, client_message_id: key } = message;
    return el("p", { class: "failure", role: "alert" }, `Not sent: ${message.failed} `,
      el("button", { type: "button", onclick: () => this.#does.retry(room, key) }, "Try again"),
      el("button", { type: "button", onclick: () => this.#does.discard(room, key) }, "Discard"));
  }

  #tools(message, mine, picking) {
    const tool = (name, label, onclick, more = {}) =>
      el("button", { type: "button", class: "icon", title: label, "aria-label": label, data: { focus: name }, onclick, ...more }, icon(name));
    const tools = el("div", { class: "tools", role: "group", "aria-label": `Message by ${message.author}` });
    if (picking) {
      tools.append(...QUICK_PICKS.map((key) => {
        const has = message.reactions[key]?.includes(this.#me) ?? false;
        return el("button", {
          type: "button", class: "pick", "aria-label": `React with ${key}`, "aria-pressed": String(has), data: { focus: `pick ${key}` },
          onclick: () => {
            this.#pick(null);
            this.#does.react(message, key, !has);
          },
        }, key);
      }));
    }
    tools.append(tool("react", picking ? "Close" : "React", () => this.#pick(picking ? null : message.id), { "aria-expanded": String(picking) }));
    tools.append(tool("reply", "Reply", () => this.#act(() => this.#does.reply(message))));
    if (mine) tools.append(tool("edit", "Edit", () => this.#act(() => this.#does.edit(message))));
    if (mine || this.#does.mayDelete(message)) {
      tools.append(tool("delete", "Delete", () => this.#act(() => this.#does.remove(message))));
    }
    return tools;
  }

  #act(action) {
    this.#active = null;
    this.#pick(null);
    action();
  }

  #pick(id) {
    this.#picking = id;
    this.#does.redraw();
  }

  /** Without a mouse to hover, a tap on a message brings its tools up. */
  #clicked(event) {
    if (event.target.closest("button, a")) return;
    if (!getSelection().isCollapsed) return;
    const id = event.target.closest(".message")?.dataset.id || null;
    this.#active = this.#active === id ? null : id;
    this.#pick(null);
  }
}

function dayRow(at) {
  const name = dayName(at);
  return { key: `d:${dayKey(at)}`, sig: name, make: () => el("li", { class: "day" }, el("span", {}, name)) };
}

function unreadRow(after) {
  return { key: `u:${after}`, sig: "", make: () => el("li", { class: "unread-line" }, el("span", {}, "New")) };
}

function noticeRow(entry) {
  return { key: `n:${entry.seq}`, sig: "", make: () => el("li", { class: "notice", title: fullTime(entry.sent_at) }, entry.text) };
}
