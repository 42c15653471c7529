// What policy would decide on a workload now, without submitting it.

import { post } from "../api.js";
import { el, given, replace } from "../dom.js";
import { count, usd, words } from "../format.js";
import { state } from "../phases.js";

export const title = "Simulate";
/** What is typed here stays: the view is not drawn again by itself. */
export const steady = true;

const EXAMPLE = {
  name: "chat",
  type: "inference",
  image: "nginx:1.29",
  team: "search",
  replicas: 2,
  resources: { cpu: "4", memory: "8Gi", gpu: { count: 1, sku: "H100" } },
};
const OUTCOMES = {
  approved: { kind: "good", symbol: "●" },
  queued: { kind: "waits", symbol: "◷" },
  awaiting_approval: { kind: "waits", symbol: "◷" },
  denied: { kind: "bad", symbol: "✕" },
  rejected: { kind: "bad", symbol: "✕" },
};

export async function load() {
  return {};
}

export function draw() {
  const text = el("textarea", { id: "document", rows: "16", spellcheck: "false", autocapitalize: "none", "aria-describedby": "hint" }, JSON.stringify(EXAMPLE, null, 2));
  const button = el("button", { type: "submit", class: "main" }, "Simulate");
  const result = el("section", { id: "result", "aria-live": "polite", "aria-label": "Result" });

  async function submit(event) {
    event.preventDefault();
    button.disabled = true;
    try {
      replace(result, ...outcome(await post("/policies/simulate", text.value)));
    } catch (problem) {
      if (problem.status === undefined) throw problem;
      replace(result, ...refusal(problem));
    } finally {
      button.disabled = false;
    }
  }

  return [
    el("h1", { tabindex: "-1" }, title),
    el("p", { id: "hint" }, "Paste a workload as JSON. Nothing is submitted, and nothing is kept."),
    el("form", { class: "simulate", on: { submit } }, el("label", { for: "document" }, "Workload"), text, button),
    result,
  ];
}

function refusal({ status, message, errors }) {
  const title = status === 400 || status === 422 ? "This is not a workload" : "That did not work";
  const lines = errors.map(({ field, message: said }) => el("li", {}, el("strong", {}, given(field || "document")), ": ", given(said)));
  return [el("h2", {}, title), lines.length > 0 ? el("ul", {}, ...lines) : el("p", {}, given(message))];
}

function outcome({ workload, unchanged, rejection, outlooks }) {
  const heading = el("h2", {}, given(workload));
  if (rejection) return [heading, el("p", {}, state(OUTCOMES.rejected, "rejected"), " ", given(rejection))];
  if (unchanged) return [heading, el("p", {}, "It is there already, in this generation. Nothing would be done.")];
  if (outlooks.length === 0) return [heading, el("p", {}, "No cluster could take it.")];
  return [heading, ...outlooks.map(outlook)];
}

function outlook(one) {
  const finding = ({ policy, rule, message }) => el("li", {}, el("strong", {}, given(`${policy} / ${rule}`)), ": ", given(message));
  const part = (name, items) => (items.length > 0 ? [el("h4", {}, name), el("ul", {}, ...items)] : []);
  const plan = one.verb === null ? null : `${words(one.verb)}, ${count(one.replicas, "replica")}, ${count(one.gpus, "GPU")}, ${usd(one.usdPerHour)} an hour`;
  return el(
    "article",
    { class: "outlook" },
    el("h3", {}, "On ", given(one.cluster || "no cluster"), " ", state(OUTCOMES[one.outcome] ?? OUTCOMES.denied, words(one.outcome))),
    plan === null ? null : el("p", {}, `${plan}.`, one.placed ? " It would go to this cluster." : ""),
    one.couldWait ? el("p", {}, "With ", el("code", {}, '"queue": true'), " it would wait in the queue.") : null,
    ...part("Against it", one.violations.map(finding)),
    ...part("Warnings", one.warnings.map((text) => el("li", {}, given(words(text))))),
    ...part("Policies that are tried out would say", one.dryRun.map(finding)),
    ...part("This would pass", one.suggestions.map(({ message }) => el("li", {}, given(message)))),
    one.determining.length > 0 ? el("p", { class: "of" }, "Decided by ", given(one.determining.join(", "))) : null,
  );
}

