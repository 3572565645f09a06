// How a message's text is shown: exactly as written. Links and mentions are marked by wrapping
// pieces of the text; the pieces put together are the text again, byte for byte.

import { el } from "./dom.js";

const MARKS = /(https?:\/\/[^\s<>"']+)|(?<![\w.])@([a-z0-9._-]+)/gi;

/** The text as nodes. `names(name)` says whether a mention of `name` counts. */
export function textNodes(text, names, me) {
  const nodes = [];
  let shown = 0;
  for (const match of text.matchAll(MARKS)) {
    const piece = match[1] ? linkPiece(match[1]) : mentionPiece(match[2], names);
    if (!piece) continue;
    nodes.push(text.slice(shown, match.index), match[1] ? link(piece) : mention(piece, me));
    shown = match.index + piece.length;
  }
  nodes.push(text.slice(shown));
  return nodes;
}

/** Whom a text mentions, of the names that count. */
export function mentionsIn(text, names) {
  const found = new Set();
  for (const match of text.matchAll(MARKS)) {
    const piece = match[2] && mentionPiece(match[2], names);
    if (piece) found.add(piece.slice(1).toLowerCase());
  }
  return found;
}

/** "@bob." mentions bob: take off what a sentence puts behind a name until the name counts. */
function mentionPiece(run, names) {
  for (let name = run; name; name = name.slice(0, -1)) {
    if (names(name.toLowerCase())) return `@${name}`;
    if (!/[._-]$/.test(name)) return null;
  }
  return null;
}

function mention(piece, me) {
  const name = piece.slice(1).toLowerCase();
  const mine = name === me || name === "all";
  return el("span", { class: mine ? "mention mine" : "mention" }, piece);
}

/** A full stop or a bracket behind a link belongs to the sentence. */
function linkPiece(run) {
  const piece = run.replace(/[.,:;!?)\]}]+$/, "");
  try {
    const url = new URL(piece);
    return url.protocol === "https:" || url.protocol === "http:" ? piece : null;
  } catch {
    return null;
  }
}

function link(piece) {
  return el("a", { href: piece, target: "_blank", rel: "noopener noreferrer nofollow" }, piece);
}
