// What things cost, beside what they may cost.

import { get } from "../api.js";
import { chooser, el, given, table } from "../dom.js";
import { count, moment, number, usd } from "../format.js";

export const title = "Cost";

const DIMENSIONS = { team: "Team", workload: "Workload", sku: "SKU", cluster: "Cluster" };
const PERIODS = { "": "this month", "1d": "1 day", "7d": "7 days", "30d": "30 days", "90d": "90 days" };
const LINES = 100;

export async function load({ query }) {
  const by = query.by in DIMENSIONS ? query.by : "team";
  const report = await get("/cost", { by, since: query.since in PERIODS ? query.since : "", limit: LINES });
  delete report.until; // it is another each time, and nothing else need be
  return report;
}

export function draw(report, { query }) {
  const lines = [...report.items, { ...report.total, name: "Total" }];
  return [
    el("h1", { tabindex: "-1" }, title),
    choice(query, report.by),
    el(
      "p",
      { class: "sum" },
      el("strong", {}, usd(report.total.usdPerHour)),
      " an hour now; ",
      el("strong", {}, usd(report.total.monthToDateUsd)),
      " this month, ",
      el("strong", {}, usd(report.total.forecastUsd)),
      " at its end if nothing changes",
      report.total.ceilingUsd === null ? "." : `, of at most ${usd(report.total.ceilingUsd)}.`,
    ),
    el("p", {}, `From ${moment(report.since)} on (whole days in UTC). Without a reading of an agent it is not known how much of a GPU was used.`),
    table(
      `Cost by ${report.by}`,
      [[DIMENSIONS[report.by], ""], ["Cost", "number"], ["Idle", "number"], ["GPU hours", "number"], ["Used", "number"], ["An hour", "number"], ["This month", "number"], ["Forecast", "number"], ["Ceiling", "number"], ["Of ceiling", ""]],
      report.items.length === 0 ? [] : lines.map((line) => row(line, report.by)),
      "Nothing has cost anything yet.",
    ),
    report.groups > report.items.length ? el("p", {}, `The dearest ${report.items.length} of ${count(report.groups, "line")}; the total counts all.`) : null,
  ].filter((part) => part !== null);
}

function row(line, by) {
  const name = line.name || (by === "sku" ? "no GPU" : "not known");
  return [
    by === "workload" && line.key ? [el("a", { href: `#/workloads/${encodeURIComponent(line.key)}` }, given(name))] : given(name),
    usd(line.usd),
    usd(line.idleUsd),
    number(line.allocatedGpuHours),
    number(line.usedGpuHours),
    usd(line.usdPerHour),
    usd(line.monthToDateUsd),
    usd(line.forecastUsd),
    usd(line.ceilingUsd),
    meter(line),
  ];
}

/** A bar and its number: how much of its ceiling something will have cost at the end of the month. */
function meter({ forecastUsd, ceilingUsd, name }) {
  if (ceilingUsd === null) return "no ceiling";
  const share = Number(ceilingUsd) === 0 ? 1 : Number(forecastUsd) / Number(ceilingUsd);
  const over = share > 1;
  return [
    el("meter", { min: "0", max: "1", low: "0.8", high: "0.999", optimum: "0", value: String(Math.min(share, 1)), "aria-label": `Forecast of ${name}, as a part of the ceiling` }),
    el("span", { class: over ? "state bad" : null }, ` ${over ? "✕ " : ""}${Math.round(share * 100)}%${over ? ", over" : ""}`),
  ];
}

function choice(query, by) {
  const choices = { by: ["By", DIMENSIONS, by], since: ["Period", PERIODS, query.since ?? ""] };
  return chooser("Choose costs", choices, (chosen) => (location.hash = `#/cost?by=${chosen.by}&since=${chosen.since}`));
}
