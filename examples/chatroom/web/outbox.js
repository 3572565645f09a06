// Messages that the server has not acknowledged yet. They are kept in the browser's storage, so
// that neither a break nor a reload loses them, and sent again under the same key, so that none
// arrives twice. One storage entry per message: tabs of one browser do not overwrite each other.

const PREFIX = "chatroom-unsent:";

/** The browser's storage; a browser that has none, or no room in it, keeps nothing. */
const storage = {
  keys(prefix) {
    try {
      return Object.keys(localStorage).filter((key) => key.startsWith(prefix));
    } catch {
      return [];
    }
  },
  get(key) {
    try {
      return JSON.parse(localStorage.getItem(key));
    } catch {
      return null;
    }
  },
  set(key, value) {
    try {
      localStorage.setItem(key, JSON.stringify(value));
    } catch {
      // The message is still in this tab's memory.
    }
  },
  remove(key) {
    try {
      localStorage.removeItem(key);
    } catch {
      // Then there was nothing.
    }
  },
};

export class Outbox {
  #prefix;
  #link;
  #changed;
  /** By room: messages in the order of writing. */
  #rooms = new Map();
  #busy = new Set();

  /** `changed(room)` is called whenever what `pending(room)` gives has changed. */
  constructor(user, link, changed) {
    this.#prefix = `${PREFIX}${user}:`;
    this.#link = link;
    this.#changed = changed;
    for (const message of this.#stored()) this.#list(message.room).push(message);
  }

  pending(room) {
    return this.#rooms.get(room) ?? [];
  }

  add(message) {
    this.#list(message.room).push(message);
    this.#store(message);
    this.#changed(message.room);
    this.flush(message.room);
  }

  /** The message has been seen in the chat itself. */
  arrived(room, key) {
    if (this.pending(room).some((message) => message.client_message_id === key)) this.#remove(room, key);
  }

  discard(room, key) {
    this.#remove(room, key);
    this.#changed(room);
  }

  retry(room, key) {
    for (const message of this.pending(room)) if (message.client_message_id === key) delete message.failed;
    this.#changed(room);
    this.flush(room);
  }

  /** Sends everything that waits. Call it when the connection is back. */
  flushAll() {
    for (const room of this.#rooms.keys()) this.flush(room);
  }

  /** One at a time in each room, so that the order of writing stays. */
  async flush(room) {
    if (this.#busy.has(room)) return;
    this.#busy.add(room);
    try {
      for (;;) {
        const next = this.pending(room).find((message) => !message.acked && !message.failed);
        if (!next || !this.#link.ready || !(await this.#send(next))) return;
      }
    } finally {
      this.#busy.delete(room);
    }
  }

  /** Forgets everything, also what is stored: someone else may use this browser next. */
  clear() {
    for (const list of this.#rooms.values()) {
      for (const message of list) storage.remove(this.#prefix + message.client_message_id);
    }
    this.#rooms.clear();
  }

  async #send({ room, client_message_id, text, reply_to, mentions, mention_all }) {
    try {
      const fields = { room, client_message_id, text, reply_to, mentions, mention_all };
      await this.#link.ask("send", fields);
      this.#mark(room, client_message_id, { acked: true });
    } catch (error) {
      if (error.code === "offline") return false;
      if (error.retry) {
        setTimeout(() => this.flush(room), 1_000 + 1_000 * Math.random());
        return false;
      }
      this.#mark(room, client_message_id, { failed: error.message });
    }
    return true;
  }

  /** The acknowledgement can come before the event: the echo stays until the event is here. */
  #mark(room, key, state) {
    const message = this.pending(room).find((other) => other.client_message_id === key);
    if (message) Object.assign(message, state);
    if (state.acked) storage.remove(this.#prefix + key);
    this.#changed(room);
  }

  #list(room) {
    if (!this.#rooms.has(room)) this.#rooms.set(room, []);
    return this.#rooms.get(room);
  }

  #remove(room, key) {
    storage.remove(this.#prefix + key);
    this.#rooms.set(room, this.pending(room).filter((message) => message.client_message_id !== key));
  }

  #store(message) {
    storage.set(this.#prefix + message.client_message_id, message);
  }

  #stored() {
    const found = storage.keys(this.#prefix).map((key) => storage.get(key));
    // The keys are time-ordered.
    return found
      .filter((message) => message?.room && message.client_message_id)
      .sort((a, b) => (a.client_message_id < b.client_message_id ? -1 : 1));
  }
}
