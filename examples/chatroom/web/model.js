// What this tab knows of one chat: a fold over the server's events, without any drawing.
// Each event is taken once, by its version; whatever the server repeats changes nothing.

/** Most entries that are kept in memory of one chat; older ones are loaded again when needed. */
const MOST_KEPT = 3_000;
const KEPT_AFTER_CUT = 1_000;

export class Chat {
  constructor(id) {
    this.id = id;
    this.about = null;
    this.clear();
  }

  clear() {
    /** The last event that is folded in, and the token that resumes behind it. */
    this.version = 0;
    this.token = null;
    this.loaded = false;
    /** Messages and notices by version. */
    this.entries = new Map();
    /** Messages that others answer to and that are not among the entries. */
    this.quotes = new Map();
    this.members = new Map();
    this.moreMembers = false;
    this.before = 0;
    this.foundOldest = false;
    this.typing = new Map();
    this.lookingBack = 0;
    this.sinceLook = [];
  }

  /** Starts from the state that the server gives for an `open`. */
  open({ chat, messages, members, more_members, before, found_oldest, version, token }) {
    this.clear();
    this.about = chat;
    this.loaded = true;
    this.version = version;
    this.token = token;
    this.before = before;
    this.foundOldest = found_oldest;
    this.moreMembers = more_members;
    for (const member of members) this.members.set(member.user, member);
    for (const message of messages) this.entries.set(message.seq, whole(message));
  }

  /** Folds events in; gives those that were new. */
  take(events, token) {
    const fresh = events.filter((event) => event.v > this.version);
    for (const event of fresh) {
      this.version = event.v;
      this.#apply(event);
    }
    if (token) this.token = token;
    if (this.lookingBack > 0) this.sinceLook.push(...fresh);
    return fresh;
  }

  /** To be called before asking for older messages: events that come meanwhile are about them too. */
  beginLook() {
    this.lookingBack += 1;
  }

  endLook(page) {
    this.lookingBack -= 1;
    if (page) {
      this.before = Math.min(this.before, page.before);
      this.foundOldest = page.found_oldest;
      for (const message of page.messages) this.#insertOld(this.entries, message);
    }
    if (this.lookingBack === 0) this.sinceLook = [];
  }

  addQuote(message) {
    this.#insertOld(this.quotes, message);
  }

  message(seq) {
    const entry = this.entries.get(seq) ?? this.quotes.get(seq);
    return entry?.notice ? undefined : entry;
  }

  sorted() {
    return [...this.entries.values()].sort((a, b) => a.seq - b.seq);
  }

  lastMessage(matches = () => true) {
    return this.sorted().findLast((entry) => !entry.notice && !entry.deleted && matches(entry));
  }

  /** Forgets old entries while somebody only watches the newest. */
  cut() {
    if (this.entries.size <= MOST_KEPT) return;
    const kept = this.sorted().slice(-KEPT_AFTER_CUT);
    this.entries = new Map(kept.map((entry) => [entry.seq, entry]));
    this.before = kept[0].seq;
    this.foundOldest = false;
  }

  #insertOld(into, message) {
    if (this.entries.has(message.seq)) return;
    const entry = whole(message);
    into.set(message.seq, entry);
    for (const event of this.sinceLook) this.#fold(entry, event);
  }

  #apply(event) {
    const { v, at, type, data } = event;
    switch (type) {
      case "message_sent":
        this.typing.delete(data.by);
        this.entries.set(v, sent(event));
        break;
      case "message_edited":
      case "message_deleted":
      case "reaction_added":
      case "reaction_removed":
        for (const place of [this.entries, this.quotes]) {
          const target = place.get(data.seq);
          if (target) this.#fold(target, event);
        }
        break;
      case "member_joined":
        this.members.set(data.user, { online: false, ...this.members.get(data.user), user: data.user, role: data.role ?? "member" });
        this.#notice(v, at, data.by === data.user ? `${data.user} entered` : `${data.by} added ${data.user}`);
        break;
      case "member_left":
        this.members.delete(data.by);
        this.#notice(v, at, `${data.by} left`);
        break;
      case "member_removed":
        this.members.delete(data.user);
        this.#notice(v, at, `${data.by} removed ${data.user}`);
        break;
      case "role_changed":
        this.#role(data.user, data.role);
        this.#notice(v, at, `${data.user} is now ${data.role}`);
        break;
      case "ownership_transferred":
        this.#role(data.by, "moderator");
        this.#role(data.to, "owner");
        this.#notice(v, at, `${data.to} is now the owner`);
        break;
      case "chat_updated":
        if (data.name !== undefined) this.about.name = data.name;
        if (data.topic !== undefined) this.about.topic = data.topic;
        break;
      default:
        // Nothing to show: read positions, or an event of a newer release.
    }
  }

  #fold(message, { v, at, type, data }) {
    if (data.seq !== message.seq || v <= message.at) return;
    message.at = v;
    if (message.deleted) return;
    switch (type) {
      case "message_edited":
        Object.assign(message, {
          text: data.text,
          mentions: data.mentions ?? [],
          mention_all: data.mention_all ?? false,
          edited_at: at,
        });
        break;
      case "message_deleted":
        Object.assign(message, { text: "", mentions: [], mention_all: false, reactions: {}, edited_at: null });
        message.deleted = { by: data.by, at };
        break;
      case "reaction_added": {
        const users = message.reactions[data.key] ?? [];
        if (!users.includes(data.by)) message.reactions[data.key] = [...users, data.by];
        break;
      }
      case "reaction_removed": {
        const users = (message.reactions[data.key] ?? []).filter((user) => user !== data.by);
        if (users.length) message.reactions[data.key] = users;
        else delete message.reactions[data.key];
        break;
      }
    }
  }

  #role(user, role) {
    const member = this.members.get(user);
    if (member) member.role = role;
  }

  #notice(seq, at, text) {
    this.entries.set(seq, { notice: true, seq, at: seq, sent_at: at, text });
  }
}

/** The server leaves out what is empty. */
function whole(message) {
  return { mentions: [], mention_all: false, reactions: {}, ...message };
}

function sent({ v, id, at, data }) {
  const { by: author, ...rest } = data;
  return whole({ ...rest, id, seq: v, at: v, author, sent_at: at });
}
