// The queue in its order, with what each plan waits for, and what waits for something else.

import { all, get } from "../api.js";
import { el, given, table } from "../dom.js";
import { age, count, moment, NOTHING, number, thisMinute, words } from "../format.js";
import { badge } from "../phases.js";

export const title = "Queue";

const MOST = 1000;

export async function load() {
  const [queued, ...others] = await Promise.all([
    all("/queue", {}, MOST),
    ...["awaiting_approval", "waiting"].map((phase) => get("/workloads", { phase, limit: 100 })),
  ]);
  return { queued, others: others.flatMap((page) => page.items), minute: thisMinute() };
}

export function draw({ queued, others }) {
  return [
    el("h1", { tabindex: "-1" }, title),
    el("p", {}, "Plans that wait for quota or capacity. The first goes first."),
    table(
      "Plans in the queue",
      [["Workload", ""], ["Place", "number"], ["Waits for", "reason"], ["Since", "when"], ["Priority", "number"], ["Overtaken", ""], ["Cluster", ""], ["Reason", "reason"]],
      queued.map((one) => [
        [link(one.id, one.workload)],
        number(one.position),
        one.waitsFor.length > 0 ? el("ul", { class: "plain" }, ...one.waitsFor.map((what) => el("li", {}, given(awaited(what))))) : NOTHING,
        since(one.since),
        number(one.priority),
        one.overtaken === 0 ? "never" : count(one.overtaken, "time"),
        one.cluster || NOTHING,
        given(one.reason || NOTHING),
      ]),
      "Nothing waits in the queue.",
    ),
    queued.length >= MOST ? el("p", {}, `The first ${MOST} plans.`) : null,
    el("h2", {}, "Waits for something else"),
    table(
      "Workloads that wait for an approval or a cluster",
      [["Workload", ""], ["Phase", ""], ["Since", "when"], ["Cluster", ""], ["Reason", "reason"]],
      others.map((one) => [
        [link(one.id, `${one.team}/${one.namespace}/${one.name}`)],
        badge(one.phase),
        since(one.updatedAt),
        one.cluster || NOTHING,
        given(one.reason || NOTHING),
      ]),
      "Nothing waits for an approval or for a cluster.",
    ),
  ].filter((part) => part !== null);
}

function link(id, name) {
  return el("a", { href: `#/workloads/${encodeURIComponent(id)}` }, given(name));
}

/** `team/small gpus[H100]` is `GPUs (H100) of the team small`. */
function awaited(what) {
  const found = /^(\w+)\/(\S*) (\w+)(?:\[(.+)\])?$/.exec(what);
  if (found === null) return what;
  const [, kind, key, resource, sku] = found;
  const noun = resource === "gpus" ? "GPUs" : words(resource);
  return `${noun}${sku ? ` (${sku})` : ""} of ${key ? `the ${words(kind)} ${key}` : "all teams"}`;
}

function since(text) {
  return [moment(text), el("span", { class: "of" }, age(text))];
}
