// The one WebSocket of this tab: requests with answers, pushes, and coming back after a break.
// Knows nothing of chats.

const FIRST_WAIT = 400;
const LONGEST_WAIT = 15_000;
const QUIET = 25_000;
const ANSWER_WITHIN = 20_000;

/** The server's word for "your session is over", "you were too slow" and "too many tabs". */
const SESSION_OVER = 4401;
const RESUME = 4408;

/** An answer that says no, or no answer (`code` is then "offline"). */
export class Refused extends Error {
  constructor({ code, message, retry = false }) {
    super(message);
    this.code = code;
    this.retry = retry;
  }
}

const offline = () => new Refused({ code: "offline", message: "No connection to the server.", retry: true });

/**
 * Tells its listeners: "online" (detail: the server's hello), "offline" (detail: the waiting
 * time), "push" (detail: what the server said), "session" (the session is over).
 */
export class Link extends EventTarget {
  #socket = null;
  #ready = false;
  #stopped = false;
  #failures = 0;
  #timer = null;
  #watchdog = null;
  #lastId = 0;
  #asked = new Map();

  constructor() {
    super();
    addEventListener("online", () => this.#hurry());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.#hurry());
  }

  get ready() {
    return this.#ready;
  }

  start() {
    this.#stopped = false;
    this.#connect();
  }

  stop() {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#socket?.close(1000);
    this.#lost();
    for (const [id, asked] of this.#asked) this.#give(id, asked, offline());
  }

  /**
   * Asks the server. With `keep` the question survives a break: it is asked again when the
   * connection is back, so it has to carry a key that makes repeating it harmless.
   */
  ask(op, fields = {}, { keep = false } = {}) {
    if (!keep && !this.#ready) return Promise.reject(offline());
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise((resolve, reject) => {
      const asked = { frame: JSON.stringify({ id, op, ...fields }), keep, resolve, reject };
      this.#asked.set(id, asked);
      if (this.#ready) this.#socket.send(asked.frame);
    });
  }

  /** Says something that needs no answer and may get lost. */
  tell(op, fields = {}) {
    this.ask(op, fields).catch(() => {});
  }

  #connect() {
    clearTimeout(this.#timer);
    this.#timer = null;
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/ws`);
    this.#socket = socket;
    // A handshake that hangs is a failure as well.
    this.#watch(ANSWER_WITHIN);
    socket.onmessage = (event) => socket === this.#socket && this.#received(JSON.parse(event.data));
    socket.onclose = (event) => socket === this.#socket && this.#closed(event.code);
  }

  #received(said) {
    this.#watch(QUIET);
    if (said.push === "hello") {
      this.#ready = true;
      this.#failures = 0;
      for (const asked of this.#asked.values()) this.#socket.send(asked.frame);
      this.#announce("online", said);
    } else if (said.push) {
      this.#announce("push", said);
    } else if (this.#asked.has(said.re)) {
      this.#give(said.re, this.#asked.get(said.re), said.error ? new Refused(said.error) : said.ok);
    }
  }

  #give(id, asked, answer) {
    this.#asked.delete(id);
    if (answer instanceof Error) asked.reject(answer);
    else asked.resolve(answer);
  }

  #lost() {
    this.#ready = false;
    this.#socket = null;
    clearTimeout(this.#watchdog);
    for (const [id, asked] of this.#asked) if (!asked.keep) this.#give(id, asked, offline());
  }

  async #closed(code) {
    const wasReady = this.#ready;
    this.#lost();
    if (this.#stopped) return;
    // A refused handshake tells a page nothing, so ask whether we are still logged in.
    if (code === SESSION_OVER || (!wasReady && (await loggedOut()))) {
      this.#announce("session");
      return;
    }
    if (this.#stopped || this.#socket) return;
    const longest = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.#failures);
    const wait = code === RESUME ? FIRST_WAIT * Math.random() : longest * (0.5 + Math.random() / 2);
    this.#failures += 1;
    this.#timer = setTimeout(() => this.#connect(), wait);
    this.#announce("offline", { wait });
  }

  #hurry() {
    if (this.#timer !== null) this.#connect();
  }

  /** Silence for `limit`: ask for a sign of life; silence after that: the line is dead. */
  #watch(limit) {
    clearTimeout(this.#watchdog);
    const socket = this.#socket;
    const dead = () => {
      if (socket !== this.#socket) return;
      socket.onclose = null;
      socket.close();
      this.#closed(1006);
    };
    this.#watchdog = setTimeout(() => {
      if (!this.#ready) return dead();
      this.tell("ping");
      this.#watchdog = setTimeout(dead, ANSWER_WITHIN);
    }, limit);
  }

  #announce(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

async function loggedOut() {
  try {
    const answer = await fetch("/api/me");
    return answer.ok && (await answer.json()).user === null;
  } catch {
    return false;
  }
}

/** Calls the part of the server that is plain HTTP. */
export async function post(path, body) {
  let answer;
  try {
    answer = await fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body ?? {}),
    });
  } catch {
    throw offline();
  }
  const said = await answer.json().catch(() => ({}));
  if (answer.ok) return said;
  throw new Refused(said.error ?? { code: "failed", message: `The server answered ${answer.status}.` });
}

/** A fresh time-ordered key (UUIDv7) for something that may have to be repeated. */
export function freshKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  let time = Date.now();
  for (let i = 5; i >= 0; i -= 1) {
    bytes[i] = time % 256;
    time = Math.floor(time / 256);
  }
  bytes[6] = 0x70 | (bytes[6] & 0x0f);
  bytes[8] = 0x80 | (bytes[8] & 0x3f);
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
