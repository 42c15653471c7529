// One workload: how it stands in words, its way from submitted to healthy as a line, and what policy decided.

import { get } from "../api.js";
import { el, given, table } from "../dom.js";
import { count, duration, moment, NOTHING, number, thisMinute, usd, words } from "../format.js";
import { line } from "../line.js";
import { badge, groupOf } from "../phases.js";
import { endOf, nameOf } from "../steps.js";

export const title = "Workload";

const ENTRIES = 200;
export async function load({ argument }) {
  const path = `/workloads/${encodeURIComponent(argument)}`;
  const workload = await get(path); // one refusal, not three, where the caller may not see it
  const [timeline, explanation] = await Promise.all([
    get(`${path}/timeline`, { sort: "-time", limit: ENTRIES }),
    get(`${path}/explain`),
  ]);
  return { workload, entries: timeline.items.reverse(), older: timeline.next !== null, explanation, minute: thisMinute() };
}

export function draw({ workload, entries, older, explanation }) {
  const steps = newestPlan(entries);
  return [
    el("p", { class: "back" }, el("a", { href: "#/" }, "All workloads")),
    el("h1", { tabindex: "-1" }, given(workload.name)),
    el("p", { class: "of" }, "team ", given(workload.team), ", namespace ", given(workload.namespace)),
    el("p", { class: `verdict ${groupOf(workload.phase).kind}`, id: "verdict" }, badge(workload.phase), " ", given(verdict(workload, steps))),
    el(
      "section",
      { "aria-labelledby": "line" },
      el("h2", { id: "line" }, "From submitted to now"),
      steps.length > 0 ? line(steps, ["busy", "waits"].includes(groupOf(workload.phase).kind)) : el("p", { class: "empty" }, "Nothing is on record."),
    ),
    decisions(explanation),
    el("section", { "aria-labelledby": "facts" }, el("h2", { id: "facts" }, "Specification"), facts(workload)),
    el(
      "section",
      { "aria-labelledby": "history" },
      el("h2", { id: "history" }, "History"),
      older ? el("p", {}, `The newest ${ENTRIES} entries.`) : null,
      history(entries),
    ),
  ];
}

/** The entries from the newest plan of a user on: what happened before belongs to an earlier plan. */
function newestPlan(entries) {
  const starts = entries.map((entry, at) => (entry.what === "plan.proposed" ? at : -1)).filter((at) => at >= 0);
  const byUser = starts.filter((at) => entries[at].detail.source === "user");
  return entries.slice((byUser.length > 0 ? byUser : starts).at(-1) ?? 0);
}

/** A sentence on how the workload stands. */
function verdict(workload, steps) {
  const since = steps.length > 0 ? new Date(steps[0].at) : null;
  const last = (...names) => steps.findLast((step) => names.includes(step.what));
  const after = (step) => (step && since ? `, ${duration(new Date(step.at) - since)} after it was submitted` : "");
  const cause = workload.reason || (workload.phase === "rolled_back" ? reasonOf(steps) : "");
  const because = cause ? ` ${sentence(cause)}` : "";
  const on = workload.cluster ? ` on ${workload.cluster}` : "";
  switch (workload.phase) {
    case "healthy":
      return `Revision ${workload.revision} runs${on} and is healthy${after(last("deployment.healthy"))}.`;
    case "completed":
      return `It has run to its end${on}${after(last("deployment.completed", "deployment.healthy"))}.`;
    case "denied":
      return `Policy has denied it.${because}`;
    case "queued":
      return `It waits in the queue.${because}`;
    case "awaiting_approval":
      return `It waits until somebody approves it.${because}`;
    case "waiting":
      return `It is approved and waits for its cluster.${because}`;
    case "verifying":
      return `Revision ${workload.revision} is applied${on}; whether it becomes healthy is not known yet.${because}`;
    case "rolled_back":
      return `It did not become healthy, and an earlier revision runs again${on}.${because}`;
    case "removed":
      return "Nothing of it runs any more.";
    case "proposed":
      return "It is submitted, and policy has not decided yet.";
    case "approved":
    case "applying":
      return `It is approved and is being applied${on}.${because}`;
    case "removing":
      return `What runs of it${on} is being removed.${because}`;
    default:
      return `It is ${words(workload.phase)}${on}.${because}`;
  }
}

/** Why the last step that went wrong did: a workload that was rolled back has no reason of its own. */
function reasonOf(steps) {
  const bad = steps.findLast((step) => endOf(nameOf(step)) === "bad");
  return bad === undefined ? "" : why(bad.detail);
}

function why({ reason, message }) {
  return [reason, message].filter((text) => typeof text === "string" && text !== "").join(": ");
}

function sentence(text) {
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(first) ? first : `${first}.`;
}

function decisions({ decisions: decided, wouldPass }) {
  const newest = decided.at(-1);
  if (newest === undefined) return null;
  const says = ({ policy, rule, message }) => el("li", {}, el("strong", {}, given(`${policy} / ${rule}`)), ": ", given(message));
  return el(
    "section",
    { "aria-labelledby": "policy" },
    el("h2", { id: "policy" }, "What policy decided"),
    el("p", {}, newest.approved ? "Approved at " : "Not approved at ", el("time", { datetime: newest.decidedAt }, moment(newest.decidedAt)), "."),
    newest.violations.length > 0 ? el("ul", {}, ...newest.violations.map(says)) : null,
    newest.warnings.length > 0 ? el("p", {}, "Warnings: ", given(newest.warnings.map(words).join(", "))) : null,
    wouldPass?.length > 0
      ? el("div", {}, el("h3", {}, "This would pass now"), el("ul", {}, ...wouldPass.map((one) => el("li", {}, given(one.message)))))
      : null,
  );
}

function facts(workload) {
  const gpu = workload.spec.resources.gpu;
  const labels = Object.entries(workload.spec.labels ?? {}).map(([name, value]) => `${name}=${value}`);
  const replicas = typeof workload.replicas === "number" ? number(workload.replicas) : `${workload.replicas.min ?? ""} to ${workload.replicas.max ?? ""}`;
  const rows = [
    ["Type", workload.type],
    ["Image", workload.image],
    ["Replicas", replicas],
    ["GPUs", gpu?.count > 0 ? `${count(workload.gpus, "GPU")} ${gpu.sku ?? gpu.product ?? ""}` : "none"],
    ["Cost", `${usd(workload.usdPerHour)} an hour`],
    ["Cluster", workload.cluster || NOTHING],
    ["Generation, revision", `${workload.generation}, ${workload.revision}`],
    ["Labels", labels.join(", ") || NOTHING],
  ];
  return el("dl", { class: "facts" }, ...rows.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, given(value)))));
}

function history(entries) {
  const rows = entries.toReversed().map((entry) => [moment(entry.at), given(nameOf(entry)), given(reason(entry))]);
  return table("History", [["When", ""], ["What", ""], ["Details", "reason"]], rows);
}

/** What an entry says beside its name. */
function reason({ detail }) {
  const violations = (detail.violations ?? []).map((one) => one.message);
  const told = [why(detail), detail.why, ...violations].filter((text) => typeof text === "string" && text !== "");
  const where = [detail.object, detail.cluster].filter(Boolean).join(" on ");
  return [...new Set(told), where].filter(Boolean).map((text) => text.replace(/\.$/, "")).join("; ") || NOTHING;
}
