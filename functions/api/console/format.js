// Numbers, money and times as people read them. Times are in the reader's own time zone.

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const DAY = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short", hourCycle: "h23" });
const USD = new Intl.NumberFormat(undefined, { style: "currency", currency: "USD" });
const NUMBER = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });
const UNITS = [
  ["d", 86400],
  ["h", 3600],
  ["min", 60],
];

export const NOTHING = "–";

/** A moment: the time of today, or the day and the time. */
export function moment(text) {
  if (!text) return NOTHING;
  const at = new Date(text);
  if (Number.isNaN(at.getTime())) return text;
  return (at.toDateString() === new Date().toDateString() ? CLOCK : DAY).format(at);
}

/** A length of time in its two largest units: 90500 ms are `1 min 30 s`. */
export function duration(milliseconds) {
  if (milliseconds < 0) milliseconds = 0;
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  if (milliseconds < 9950) return `${(milliseconds / 1000).toFixed(1)} s`;
  let seconds = Math.round(milliseconds / 1000);
  const parts = [];
  for (const [unit, length] of UNITS) {
    if (seconds >= length) parts.push(`${Math.floor(seconds / length)} ${unit}`);
    seconds %= length;
  }
  if (seconds > 0 || parts.length === 0) parts.push(`${seconds} s`);
  return parts.slice(0, 2).join(" ");
}

/** Part of what a view loads when it shows ages: it is drawn again each minute. */
export function thisMinute() {
  return Math.floor(Date.now() / 60_000);
}

/** How long ago a moment was, in whole minutes: what changes each second would be drawn each second. */
export function age(text) {
  const minutes = Math.floor((Date.now() - new Date(text)) / 60_000);
  return minutes < 1 ? "for less than a minute" : `for ${duration(minutes * 60_000)}`;
}

export function usd(text) {
  return text === null || text === undefined ? NOTHING : USD.format(Number(text));
}

export function number(value) {
  return value === null || value === undefined ? NOTHING : NUMBER.format(Number(value));
}

export function percent(value) {
  return value === null || value === undefined ? NOTHING : `${Math.round(value)}%`;
}

export function gibibytes(bytes) {
  return bytes === null || bytes === undefined ? NOTHING : `${NUMBER.format(bytes / 2 ** 30)} GiB`;
}

/** `awaiting_approval` is `awaiting approval`. */
export function words(text) {
  return text.replaceAll("_", " ");
}

/** `1 GPU`, `2 GPUs`. */
export function count(quantity, noun) {
  return `${NUMBER.format(quantity)} ${noun}${Number(quantity) === 1 ? "" : "s"}`;
}
