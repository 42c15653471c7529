// What runs, waits and fails, at a glance.

import { get } from "../api.js";
import { chooser, el, given, table } from "../dom.js";
import { moment, NOTHING, number, usd, words } from "../format.js";
import { badge, GROUPS, PHASES } from "../phases.js";

export const title = "Overview";

const NEWEST = 50;
const FAILED = 10; // of each phase
const COLUMNS = [
  ["Workload", ""],
  ["Phase", ""],
  ["Cluster", ""],
  ["GPUs", "number"],
  ["USD an hour", "number"],
  ["Changed", "when"],
  ["Reason", "reason"],
];

export async function load({ query }) {
  const [counts, workloads, failing] = await Promise.all([
    get("/workloads/phases"),
    get("/workloads", { sort: "-createdAt", limit: NEWEST, phase: query.phase, team: query.team, cursor: query.cursor }),
    needing(),
  ]);
  return { counts: counts.items, workloads: workloads.items, next: workloads.next, failing };
}

/** Workloads that do not run as they should, the last changed first. Those that policy has denied are not broken. */
async function needing() {
  const pages = await Promise.all(
    ["failed", "unhealthy", "degraded", "rolled_back"].map((phase) =>
      get("/workloads", { phase, sort: "-createdAt", limit: FAILED }),
    ),
  );
  return pages.flatMap((page) => page.items).sort((a, b) => b.updatedAt.localeCompare(a.updatedAt));
}

export function draw({ counts, workloads, next, failing }, { query }) {
  const chosen = query.phase || query.team;
  return [
    el("h1", { tabindex: "-1" }, title),
    el("ul", { class: "tiles", "aria-label": "Workloads by phase" }, ...GROUPS.map((group) => tile(group, counts))),
    ...(failing.length > 0
      ? [el("section", { "aria-labelledby": "failing" }, el("h2", { id: "failing" }, "Needs attention"), list("Workloads that need attention", failing))]
      : []),
    el(
      "section",
      { "aria-labelledby": "happens" },
      el("h2", { id: "happens" }, "What happens now"),
      el("ol", { id: "recent", class: "recent" }, el("li", { class: "empty" }, "Nothing since you came here.")),
    ),
    el(
      "section",
      { "aria-labelledby": "newest" },
      el("h2", { id: "newest" }, chosen ? "Workloads that fit" : "Newest workloads"),
      filter(query, counts),
      list("Workloads", workloads, "No workload fits. Submit one, or choose another phase."),
      next === null ? null : el("p", {}, el("a", { href: address({ ...query, cursor: next }) }, "Older workloads")),
    ),
  ];
}

function tile({ name, kind, symbol, phases }, counts) {
  const numbers = phases
    .map((phase) => [phase, counts.filter((one) => one.phase === phase).reduce((sum, one) => sum + one.workloads, 0)])
    .filter(([, many]) => many > 0);
  const total = numbers.reduce((sum, [, many]) => sum + many, 0);
  const parts = numbers.map(([phase, many]) =>
    el("li", {}, el("a", { href: address({ phase }) }, `${number(many)} ${words(phase)}`)),
  );
  return el(
    "li",
    { class: `tile ${kind}` },
    el("p", { class: "name" }, el("span", { "aria-hidden": "true" }, symbol), ` ${name}`),
    el("p", { class: "total" }, number(total)),
    el("ul", { class: "parts" }, ...(parts.length > 0 ? parts : [el("li", {}, "none")])),
  );
}

function filter(query, counts) {
  const options = (values) => ({ "": "all", ...Object.fromEntries(values.map((value) => [value, words(value)])) });
  const teams = [...new Set(counts.map((one) => one.team))];
  const choices = {
    phase: ["Phase", options(PHASES), query.phase ?? ""],
    team: ["Team", options(teams), query.team ?? ""],
  };
  return chooser("Choose workloads", choices, (chosen) => (location.hash = address(chosen)), "search");
}

function address(query) {
  const search = new URLSearchParams(Object.entries(query).filter(([, value]) => value)).toString();
  return search ? `#/?${search}` : "#/";
}

function list(caption, workloads, empty) {
  const row = (one) => [
    [
      el("a", { href: `#/workloads/${encodeURIComponent(one.id)}` }, given(one.name)),
      el("span", { class: "of" }, given(one.namespace === one.team ? one.team : `${one.team} / ${one.namespace}`)),
    ],
    badge(one.phase),
    one.cluster || NOTHING,
    number(one.gpus),
    usd(one.usdPerHour),
    moment(one.updatedAt),
    given(one.reason || NOTHING),
  ];
  return table(caption, COLUMNS, workloads.map(row), empty);
}
