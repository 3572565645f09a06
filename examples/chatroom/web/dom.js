// Builds elements. What people write reaches the page as text nodes only; nothing here, nor
// anywhere else in this page, turns text into markup.

export const $ = (id) => document.getElementById(id);

/** Makes an element: `el("p", { class: "x", onclick }, "text", child)`. */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "data") Object.assign(node.dataset, value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const PATHS = {
  back: "M15 5l-7 7 7 7",
  logout: "M10 4H6a2 2 0 0 0-2 2v12a2 2 0 0 0 2 2h4M15 8l4 4-4 4M19 12H9",
  leave: "M14 4h4a2 2 0 0 1 2 2v12a2 2 0 0 1-2 2h-4M9 8l-4 4 4 4M5 12h10",
  members: "M9 11a3.500 3.500 0 1 0 0-7 3.500 3.500 0 0 0 0 7zM3 20c0-3.500 2.500-6 6-6s6 2.500 6 6M16 4.500a3.500 3.500 0 0 1 0 6.500M17.500 14.500c2.200.7 3.500 2.700 3.500 5.500",
  close: "M6 6l12 12M18 6L6 18",
  send: "M4 12l16-7-5 15-3.500-6.500L4 12z",
  reply: "M10 7L5 12l5 5M5 12h9a5 5 0 0 1 5 5v1",
  edit: "M5 19h3.500L19 8.500 15.500 5 5 15.500V19zM13.500 7l3.500 3.500",
  delete: "M5 7h14M10 7V5h4v2M7 7l1 12h8l1-12M10.500 11v5M13.500 11v5",
  react: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM8.500 14c.8 1.500 2 2.300 3.500 2.300s2.700-.8 3.500-2.300M9 9.500v.5M15 9.500v.5",
  plus: "M12 5v14M5 12h14",
  at: "M15.500 12a3.500 3.500 0 1 1-7 0 3.500 3.500 0 0 1 7 0zm0 0v1.500a2.500 2.500 0 0 0 5 0V12a8.500 8.500 0 1 0-3.500 6.900",
};

/** An icon; decoration only, so its button carries the label. */
export function icon(name) {
  const ns = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(ns, "svg");
  for (const [key, value] of Object.entries({ viewBox: "0 0 24 24", "aria-hidden": "true", class: "glyph" })) {
    svg.setAttribute(key, value);
  }
  const path = document.createElementNS(ns, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

/** A round mark with the first letter of a name, in a colour that follows from the name. */
export function avatar(name, { bot = false, room = false } = {}) {
  let hash = 0x811c9dc5;
  for (const char of name) hash = Math.imul(hash ^ char.codePointAt(0), 0x01000193) >>> 0;
  const letter = room ? "#" : bot ? "✦" : [...name][0]?.toUpperCase() ?? "?";
  const kind = bot ? "bot" : `hue-${(hash >>> 8) % 10}`;
  return el("span", { class: `avatar ${kind}${room ? " square" : ""}`, "aria-hidden": "true" }, letter);
}

/** Calls `work` once, soon, however often the result is called. */
export function soon(work) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    setTimeout(() => {
      waiting = false;
      work();
    }, 0);
  };
}

/**
 * The rows of a list, each with a key and a signature. Drawing touches only rows whose signature
 * changed: what somebody is about to click, or has the keyboard on, stays what it is.
 */
export class Rows {
  #list;
  #nodes = new Map();

  constructor(list) {
    this.#list = list;
  }

  clear() {
    this.#nodes.clear();
    this.#list.replaceChildren();
  }

  /** Draws `rows`: objects of `key`, `sig` and `make`, which makes the element. */
  draw(rows) {
    const restoreFocus = this.#focus();
    const kept = new Set();
    let place = this.#list.firstChild;
    for (const { key, sig, make } of rows) {
      kept.add(key);
      let row = this.#nodes.get(key);
      if (row?.sig !== sig) {
        const node = make();
        node.rowKey = key;
        if (row) {
          if (row.node === place) place = node;
          row.node.replaceWith(node);
        }
        row = { node, sig };
        this.#nodes.set(key, row);
      }
      if (row.node === place) place = place.nextSibling;
      else this.#list.insertBefore(row.node, place);
    }
    for (const [key, { node }] of this.#nodes) {
      if (kept.has(key)) continue;
      node.remove();
      this.#nodes.delete(key);
    }
    restoreFocus?.();
  }

  /** Drawing a row anew must not take the keyboard's place away. */
  #focus() {
    const focused = document.activeElement;
    if (!this.#list.contains(focused) || focused === this.#list) return null;
    const { rowKey } = [...this.#list.children].find((row) => row.contains(focused));
    return () => {
      if (document.activeElement === focused) return;
      const buttons = [...(this.#nodes.get(rowKey)?.node.querySelectorAll("button") ?? [])];
      const same = buttons.find((button) => button.dataset.focus === focused.dataset.focus);
      (same ?? buttons.at(-1))?.focus({ preventScroll: true });
    };
  }
}
