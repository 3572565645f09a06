// The chat that is open: follows it live, picks up after a break where it stopped, and carries out
// what its user does.

import { $, soon } from "./dom.js";
import { chatName, people } from "./format.js";
import { askFor } from "./dialog.js";
import { Chat } from "./model.js";
import { freshKey } from "./net.js";
import { Composer } from "./composer.js";
import { Members } from "./members.js";
import { Timeline } from "./timeline.js";

const PAGE = 50;
/** Behind by more than this, a fresh look is cheaper than every event since. */
const FAR_BEHIND = 1_000;
const MOST_CACHED = 8;
const READ_AFTER = 250;
const TRY_AGAIN_AFTER = 1_000;
const TYPING_LASTS = 7_000;
const MOST_OLDER_FOR_UNREAD = 1_000;

export class Conversation {
  #link;
  #outbox;
  #me;
  #does;
  #cache = new Map();
  #chat = null;
  #unreadAfter = null;
  #loadingOlder = false;
  #readTimer = null;
  #timeline;
  #composer;
  #members;
  #draw = soon(() => this.#drawNow());

  /** `does`: message(user), left(room, note). */
  constructor(link, outbox, { user, assistant, limits }, does) {
    this.#link = link;
    this.#outbox = outbox;
    this.#me = user;
    this.#does = does;
    this.#members = new Members(user, assistant, does.message);
    this.#composer = new Composer(limits.text_chars, {
      names: () => [...(this.#chat?.members.keys() ?? [])].filter((name) => name !== user).sort(),
      send: (parts) => this.#send(parts),
      edit: (message, parts) => this.#edit(message, parts),
      typing: (room, on) => this.#link.ready && this.#link.tell("typing", { room, on }),
      lastOwn: () => this.#chat?.lastMessage((message) => message.author === user),
    });
    this.#timeline = new Timeline(user, assistant, {
      older: () => this.#older(),
      end: () => this.#readSoon(),
      reply: (message) => this.#composer.reply(message),
      edit: (message) => this.#composer.edit(message),
      remove: (message) => this.#remove(message),
      react: (message, key, on) => this.#react(message, key, on),
      jump: (seq) => this.#jump(seq),
      quote: (reference) => this.#quote(reference),
      retry: (room, key) => this.#outbox.retry(room, key),
      discard: (room, key) => this.#outbox.discard(room, key),
      mayDelete: (message) => this.#mayDelete(message),
      redraw: () => this.#draw(),
    });
    $("jump-latest").onclick = () => this.#timeline.toEnd();
    $("jump-unread").onclick = () => this.#toUnread();
    $("leave").onclick = () => this.#leave();
    addEventListener("focus", () => this.#readSoon());
    document.addEventListener("visibilitychange", () => this.#readSoon());
  }

  get room() {
    return this.#chat?.id ?? null;
  }

  /** Everybody in the chats that were open lately. */
  people() {
    return [...this.#cache.values()].flatMap((chat) => [...chat.members.keys()]);
  }

  /** Shows a chat. */
  async select(room) {
    if (this.room === room) return this.#composer.focus();
    if (this.#chat) this.#link.ready && this.#link.tell("close", { room: this.room });
    const chat = this.#cached(room);
    this.#chat = chat;
    this.#unreadAfter = null;
    this.#composer.enter(room);
    this.#timeline.show(chat);
    $("nothing").hidden = true;
    $("chat").hidden = false;
    this.#drawNow();
    await this.follow();
    this.#composer.focus();
  }

  /** Shows nothing. */
  clear() {
    if (this.#chat && this.#link.ready) this.#link.tell("close", { room: this.room });
    this.#chat = null;
    $("chat").hidden = true;
    $("nothing").hidden = false;
  }

  /** Follows the open chat, from where it stopped if that is known. To be called after a break. */
  async follow() {
    const chat = this.#chat;
    if (!chat || !this.#link.ready) return;
    try {
      const behind = (chat.about?.version ?? 0) - chat.version;
      if (!(chat.token && behind < FAR_BEHIND && (await this.#resume(chat)))) await this.#open(chat);
    } catch (error) {
      if (this.#chat !== chat || error.code === "offline") return;
      if (error.retry) setTimeout(() => this.#chat === chat && this.follow(), TRY_AGAIN_AFTER);
      else this.#does.left(chat.id, error.message);
    }
  }

  /** What the server says of the open chat. */
  pushed(said) {
    const chat = this.#chat?.id === said.room ? this.#chat : null;
    if (!chat) return;
    if (said.push === "events") this.#events(chat, said);
    else if (said.push === "typing") this.#typing(chat, said);
    else if (said.push === "presence") this.#presence(chat, said);
    else if (said.push === "ended") this.#ended(chat, said);
  }

  /** The list knows something newer of a chat. */
  summary(about) {
    const chat = this.#cache.get(about.room);
    if (!chat) return;
    chat.about = about;
    if (chat === this.#chat) this.#draw();
  }

  /** The outbox changed. */
  pending(room) {
    if (room === this.room) this.#draw();
  }

  #cached(room) {
    const chat = this.#cache.get(room) ?? new Chat(room);
    this.#cache.delete(room);
    this.#cache.set(room, chat);
    if (this.#cache.size > MOST_CACHED) this.#cache.delete(this.#cache.keys().next().value);
    return chat;
  }

  async #resume(chat) {
    try {
      const { members, more_members, chat: about } = await this.#link.ask("resume", { room: chat.id, token: chat.token });
      chat.about = about;
      // Who is online is not in the events.
      for (const member of members) chat.members.set(member.user, member);
      chat.moreMembers = more_members;
      this.#startReading(chat);
      return true;
    } catch (error) {
      if (error.code === "offline" || error.retry || error.code === "not_member") throw error;
      return false;
    }
  }

  async #open(chat) {
    const opened = await this.#link.ask("open", { room: chat.id, limit: PAGE });
    chat.open(opened);
    this.#settleEchoes(chat, opened.messages);
    this.#startReading(chat);
  }

  #startReading(chat) {
    if (chat !== this.#chat) return;
    if (chat.about.unread > 0 && this.#unreadAfter === null) this.#unreadAfter = chat.about.read;
    this.#drawNow();
    this.#readSoon();
  }

  /** Echoes of own messages that turn out to be in the chat already. */
  #settleEchoes(chat, messages) {
    for (const { author, client_message_id: key } of messages) {
      if (author === this.#me && key) this.#outbox.arrived(chat.id, key);
    }
  }

  #events(chat, { events, token }) {
    for (const event of chat.take(events, token)) this.#tookEvent(chat, event);
    if (this.#timeline.atEnd) chat.cut();
    this.#draw();
  }

  #tookEvent(chat, { v, type, data }) {
    if (type === "message_sent" && data.by === this.#me) {
      if (data.client_message_id) this.#outbox.arrived(chat.id, data.client_message_id);
      this.#unreadAfter = null;
    } else if (type === "message_sent" && this.#unreadAfter === null && !this.#watched()) {
      this.#unreadAfter = v - 1;
    } else if (type === "message_deleted") {
      this.#composer.gone(data.message);
    } else if (type === "read_advanced" && data.by === this.#me) {
      chat.about.read = Math.max(chat.about.read, Math.min(data.up_to, v));
    }
  }

  #typing(chat, { user, on }) {
    clearTimeout(chat.typing.get(user));
    chat.typing.delete(user);
    if (on && user !== this.#me) {
      // The end of typing may get lost.
      chat.typing.set(user, setTimeout(() => {
        chat.typing.delete(user);
        this.#drawTyping();
      }, TYPING_LASTS));
    }
    this.#drawTyping();
  }

  #presence(chat, { user, online }) {
    const member = chat.members.get(user);
    if (member) member.online = online;
    this.#draw();
  }

  #ended(chat, { reason }) {
    if (reason === "left" || reason === "removed") {
      this.#cache.delete(chat.id);
      this.#does.left(chat.id, reason === "removed" ? "You were removed from the room." : "");
    } else if (reason === "reset") {
      // The log is another one: what is known here does not lead on in it.
      chat.token = null;
      this.follow();
    } else {
      setTimeout(() => this.#chat === chat && this.follow(), TRY_AGAIN_AFTER);
    }
  }

  #drawNow() {
    const chat = this.#chat;
    if (!chat) return;
    const about = chat.about;
    $("chat-name").textContent = about ? chatName(about, this.#me) : "…";
    const online = [...chat.members.values()].filter((member) => member.online).length;
    const size = about?.members === 1 ? "1 member" : `${about?.members ?? 0} members`;
    $("chat-about").textContent = !about ? "" : about.topic || (about.kind === "self" ? "Only you see this" : `${size}, ${online} online`);
    $("leave").hidden = about?.kind !== "group";
    this.#timeline.draw(this.#outbox.pending(chat.id), this.#unreadAfter);
    this.#members.draw(chat);
    this.#drawTyping();
    this.#drawUnreadPill(chat);
  }

  #drawTyping() {
    const users = [...(this.#chat?.typing.keys() ?? [])];
    $("typing").textContent = users.length ? `${people(users)} ${users.length === 1 ? "is" : "are"} typing…` : "";
  }

  /** Only when the first unread message is not loaded: else its line is in the list. */
  #drawUnreadPill(chat) {
    const first = chat.sorted()[0];
    const hidden = this.#unreadAfter === null || chat.foundOldest || !first || first.seq <= this.#unreadAfter + 1;
    $("jump-unread").hidden = hidden;
    $("jump-unread").textContent = "To the first unread message";
  }

  async #toUnread() {
    let loaded = 0;
    while (this.#chat && !this.#chat.foundOldest && this.#chat.before > this.#unreadAfter && loaded < MOST_OLDER_FOR_UNREAD) {
      if (!(await this.#older(200))) break;
      loaded += 200;
    }
    this.#drawNow();
    this.#timeline.revealUnread();
  }

  /** Loads a page of older messages; says whether it did. */
  async #older(limit = PAGE) {
    const chat = this.#chat;
    if (!chat?.loaded || chat.foundOldest || this.#loadingOlder || !this.#link.ready) return false;
    this.#loadingOlder = true;
    $("older").hidden = false;
    $("timeline").setAttribute("aria-busy", "true");
    chat.beginLook();
    let page = null;
    try {
      page = await this.#link.ask("history", { room: chat.id, before: chat.before, limit });
    } catch {
      // The next scroll asks again.
    }
    chat.endLook(page);
    this.#loadingOlder = false;
    $("older").hidden = true;
    if (chat === this.#chat) this.#drawNow();
    $("timeline").removeAttribute("aria-busy");
    return page !== null;
  }

  async #jump(seq) {
    let tries = 20;
    while (!this.#timeline.reveal(seq) && tries > 0 && (await this.#older(200))) tries -= 1;
  }

  async #quote({ message, seq }) {
    const chat = this.#chat;
    chat.beginLook();
    const found = await this.#link.ask("message", { room: chat.id, message }).catch(() => null);
    // Something has to stand there, or it is asked for without end.
    chat.addQuote(found?.message ?? { id: message, seq, at: 0, author: "", text: "", deleted: { by: "", at: 0 } });
    chat.endLook(null);
    this.#draw();
  }

  #watched() {
    return document.visibilityState === "visible" && document.hasFocus();
  }

  #readSoon() {
    this.#readTimer ??= setTimeout(() => {
      this.#readTimer = null;
      this.#read();
    }, READ_AFTER);
  }

  /** What stands at the end of the list, in a window that somebody looks at, is read. */
  #read() {
    const chat = this.#chat;
    if (!chat?.loaded || !this.#link.ready || !this.#watched() || !this.#timeline.atEnd) return;
    const last = chat.lastMessage((message) => message.author !== this.#me);
    const marked = chat.about.marked_unread;
    if (!last || (last.seq <= chat.about.read && !marked)) return;
    chat.about.read = last.seq;
    chat.about.marked_unread = false;
    this.#link.ask("mark_read", { room: chat.id, up_to: last.seq, command_id: freshKey() }, { keep: true }).catch(() => {});
  }

  #send(parts) {
    this.#timeline.atEnd = true;
    this.#unreadAfter = null;
    this.#outbox.add({ ...parts, room: this.room, client_message_id: freshKey(), written_at: Date.now() });
  }

  /** Carries its own key, so it is asked again after a break without happening twice. */
  #command(op, fields) {
    return this.#link.ask(op, { room: this.room, command_id: freshKey(), ...fields }, { keep: true });
  }

  #edit(message, parts) {
    this.#command("edit", { message: message.id, ...parts }).catch((error) => this.#say(error));
  }

  #react(message, key, on) {
    this.#command(on ? "react" : "unreact", { message: message.id, key }).catch((error) => this.#say(error));
  }

  #remove(message) {
    const whose = message.author === this.#me ? "your message" : `the message of ${message.author}`;
    askFor({
      title: "Delete this message?", text: `This takes ${whose} away for everybody, for good.`, ok: "Delete", danger: true,
      done: () => this.#command("delete", { message: message.id }),
    });
  }

  #mayDelete(message) {
    const rank = { owner: 2, moderator: 1, member: 0 };
    const mine = rank[this.#chat?.members.get(this.#me)?.role] ?? 0;
    return this.#chat?.about?.kind === "group" && mine > (rank[this.#chat.members.get(message.author)?.role] ?? 0);
  }

  #leave() {
    const room = this.room;
    askFor({
      title: "Leave this room?", text: "You can enter it again at any time.", ok: "Leave",
      done: () => this.#command("leave", { room }),
    });
  }

  #say(error) {
    $("composer-error").textContent = error.message;
  }
}
