// Who is in the chat: online first, then by role and name.

import { $, Rows, avatar, el } from "./dom.js";

const RANK = { owner: 0, moderator: 1, member: 2 };
const MOST_SHOWN = 500;

export class Members {
  #rows = new Rows($("member-list"));
  #me;
  #assistant;
  #message;

  /** `message(user)` opens a direct chat. */
  constructor(me, assistant, message) {
    this.#me = me;
    this.#assistant = assistant;
    this.#message = message;
    $("show-members").onclick = () => this.toggle($("members").hidden);
    $("hide-members").onclick = () => this.toggle(false);
    // Wide screens have room for the list; it can be closed all the same.
    this.wide = matchMedia("(min-width: 1080px)");
    this.wide.onchange = () => this.toggle(this.wide.matches);
    this.toggle(this.wide.matches);
  }

  toggle(shown) {
    $("members").hidden = !shown;
    $("show-members").setAttribute("aria-expanded", String(shown));
  }

  draw(chat) {
    const group = chat.about?.kind === "group";
    const all = [...chat.members.values()].sort((a, b) =>
      b.online - a.online || (group ? RANK[a.role] - RANK[b.role] : 0) || (a.user < b.user ? -1 : 1));
    const online = all.filter((member) => member.online).length;
    $("members-title").textContent = `Members · ${online} online`;
    const rows = all.slice(0, MOST_SHOWN).map((member) => ({
      key: member.user,
      sig: `${member.online}|${member.role}|${group}`,
      make: () => this.#entry(member, group),
    }));
    if (chat.moreMembers || all.length > MOST_SHOWN) {
      rows.push({ key: " more", sig: "", make: () => el("li", { class: "hint" }, "… and more") });
    }
    this.#rows.draw(rows);
  }

  #entry({ user, role, online }, group) {
    const bot = user === this.#assistant;
    const me = user === this.#me;
    const state = online ? "online" : "offline";
    const name = el("span", { class: "name" }, user, me && el("small", {}, " (you)"));
    const parts = [el("span", { class: `presence ${state}`, title: state, role: "img", "aria-label": state }, avatar(user, { bot })), name];
    if (bot) parts.push(el("span", { class: "badge bot" }, "bot"));
    else if (group && role !== "member") parts.push(el("span", { class: "badge role" }, role));
    const data = { user, online: String(online), role };
    if (me) return el("li", { class: "member", data }, ...parts);
    return el("li", { data, class: "member" }, el("button", { type: "button", title: `Message ${user}`, onclick: () => this.#message(user) }, ...parts));
  }
}
