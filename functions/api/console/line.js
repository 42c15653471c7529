// The steps of a workload, drawn as a line: a mark for each step, and between two how long that took.
//
// A wide place has the line from left to right, a narrow one from top to bottom. The stretch between two marks grows
// with the logarithm of its time, because 8 ms and 3 h are on the same line. A table beside it says the same.

import { el, given, svg, table } from "./dom.js";
import { duration, moment, NOTHING } from "./format.js";
import { endOf, nameOf } from "./steps.js";

const STEP = 124; // pixels that a step needs side by side
const MARGIN = 62; // half a label, at both ends
const MARK = 7;
const DOWN = 64; // pixels from one step to the next below it, at least

/** steps: entries of a timeline, the first one first. running: whether more is to come. */
export function line(steps, running) {
  const parts = steps.map((step, at) => {
    const name = nameOf(step);
    const took = at === 0 ? null : new Date(step.at) - new Date(steps[at - 1].at);
    return { name, at: step.at, took, end: endOf(name), weight: took === null ? 0 : weightOf(took) };
  });
  const end = running ? new Date() : new Date(steps.at(-1).at);
  if (running) parts.push(stillRunning(end, end - new Date(steps.at(-1).at)));
  const total = end - new Date(steps[0].at);
  const sum = parts.length > 1 ? `Together ${duration(total)}${running ? " so far" : ""}.` : "";
  const place = el("div", { class: "line", "data-key": "line" });
  let drawn = 0;
  new ResizeObserver(([{ contentRect }]) => {
    const width = Math.floor(contentRect.width);
    if (width === drawn || width === 0) return;
    drawn = width;
    place.replaceChildren(picture(parts, width, sum));
  }).observe(place);
  return el("div", {}, place, sum ? el("p", { class: "sum" }, sum) : null, asTable(parts));
}

function weightOf(took) {
  return 1 + Math.log10(1 + Math.max(0, took) / 100);
}

/** The end of a line that goes on. */
function stillRunning(now, took) {
  return { name: "now", at: now.toISOString(), took, end: "now", weight: weightOf(took) };
}

function picture(parts, width, sum) {
  const across = parts.length * STEP <= width;
  const placed = across ? sideways(parts, width) : downwards(parts);
  const height = across ? 92 : placed.at(-1).y + 34;
  const said = parts.map(({ name, took }) => (took === null ? name : `${name} after ${duration(took)}`)).join(", ");
  return svg(
    "svg",
    { role: "img", "aria-label": `${said}. ${sum}`, width, height, viewBox: `0 0 ${width} ${height}` },
    ...placed.slice(1).flatMap((step, at) => stretch(placed[at], step, across)),
    ...placed.flatMap((step) => [mark(step), ...label(step, across)]),
  );
}

/** The marks from left to right: each stretch has room for a label, and what is left goes by time. */
function sideways(parts, width) {
  const rest = width - 2 * MARGIN - (parts.length - 1) * STEP;
  const weights = parts.reduce((sum, { weight }) => sum + weight, 0);
  let x = parts.length === 1 ? MARGIN : MARGIN - STEP;
  return parts.map((part) => {
    x += STEP + (weights > 0 ? (rest * part.weight) / weights : 0);
    return { ...part, x: parts.length === 1 ? MARGIN : x, y: 38 };
  });
}

function downwards(parts) {
  let y = 14;
  return parts.map((part, at) => {
    if (at > 0) y += DOWN + 8 * part.weight;
    return { ...part, x: 14, y };
  });
}

function stretch(from, to, across) {
  const gap = MARK + 4;
  const ends = across
    ? { x1: from.x + gap, y1: from.y, x2: to.x - gap, y2: to.y }
    : { x1: from.x, y1: from.y + gap, x2: to.x, y2: to.y - gap };
  const where = across
    ? { x: (from.x + to.x) / 2, y: 22, "text-anchor": "middle" }
    : { x: 34, y: (from.y + to.y) / 2 + 14 };
  return [svg("line", { class: `stretch ${to.end}`, ...ends }), svg("text", { class: "took", ...where }, duration(to.took))];
}

/** A circle; what is good is filled and has a tick, what is bad is a square with a cross. */
function mark({ x, y, end }) {
  const at = { transform: `translate(${x} ${y})`, class: `mark ${end}` };
  if (end === "bad") {
    return svg("g", at, svg("rect", { x: -MARK, y: -MARK, width: 2 * MARK, height: 2 * MARK, rx: 2 }), svg("path", { d: "M-3 -3 3 3M-3 3 3 -3" }));
  }
  const circle = svg("circle", { r: MARK });
  return end === "good" ? svg("g", at, circle, svg("path", { d: "M-3.5 0 -1 2.5 3.5 -2.5" })) : svg("g", at, circle);
}

function label({ x, y, name, at, end }, across) {
  const anchor = across ? "middle" : "start";
  const [left, top] = across ? [x, y + 30] : [34, y + 1];
  return [
    svg("text", { class: `step ${end}`, x: left, y: top, "text-anchor": anchor }, name),
    svg("text", { class: "when", x: left, y: top + 20, "text-anchor": anchor }, moment(at)),
  ];
}

function asTable(parts) {
  const rows = parts.map(({ name, at, took }) => [given(name), moment(at), took === null ? NOTHING : duration(took)]);
  return el(
    "details",
    { "data-key": "details line" },
    el("summary", { "data-key": "summary line" }, "The line as a table"),
    table("Steps", [["Step", ""], ["When", ""], ["After the step before", "number"]], rows),
  );
}
