// Dates and names for people, in the words of the browser's language.

const time = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const dayWithYear = new Intl.DateTimeFormat(undefined, { dateStyle: "long" });
const short = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });

export const clockTime = (at) => time.format(at);
/** Hour and minute only, for where there is no room for more. */
export const shortTime = (at) => {
  const wanted = time.formatToParts(at).filter(({ type }) => type === "hour" || type === "minute");
  return wanted.map(({ value }) => value).join(":");
};
export const fullTime = (at) => full.format(at);

/** A key that is the same for all times of one local day. */
export const dayKey = (at) => new Date(at).toDateString();

export function dayName(at, now = Date.now()) {
  if (dayKey(at) === dayKey(now)) return "Today";
  if (dayKey(at) === dayKey(now - 86_400_000)) return "Yesterday";
  const sameYear = new Date(at).getFullYear() === new Date(now).getFullYear();
  return (sameYear ? day : dayWithYear).format(at);
}

export const listTime = (at) => (dayKey(at) === dayKey(Date.now()) ? clockTime(at) : short.format(at));

/** "ann", "ann and bob", "ann, bob and 3 others". */
export function people(names) {
  if (names.length <= 1) return names[0] ?? "";
  if (names.length <= 3) return `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
  return `${names.slice(0, 2).join(", ")} and ${names.length - 2} others`;
}

/** What a chat is called for `me`. */
export function chatName(chat, me) {
  if (chat.kind === "self") return "Notes to myself";
  if (chat.kind === "direct") return people(chat.others) || me;
  return chat.name || "Unnamed room";
}
