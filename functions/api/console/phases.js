// The phases of a workload, in the groups that the overview shows. A symbol says what a colour says.

import { el } from "./dom.js";
import { words } from "./format.js";

export const GROUPS = [
  { name: "Runs", kind: "good", symbol: "●", phases: ["healthy", "completed"] },
  { name: "On its way", kind: "busy", symbol: "◐", phases: ["proposed", "approved", "applying", "verifying", "removing"] },
  { name: "Waits", kind: "waits", symbol: "◷", phases: ["queued", "awaiting_approval", "waiting"] },
  {
    name: "Fails",
    kind: "bad",
    symbol: "✕",
    phases: ["degraded", "denied", "failed", "unhealthy", "rolled_back"],
  },
];

const REMOVED = { name: "Removed", kind: "gone", symbol: "○", phases: ["removed"] };

export const PHASES = [...GROUPS, REMOVED].flatMap((group) => group.phases);

export function groupOf(phase) {
  return GROUPS.find((group) => group.phases.includes(phase)) ?? REMOVED;
}

/** A phase as a word with its symbol and colour. */
export function badge(phase) {
  return state(groupOf(phase), words(phase));
}

/** A word with the symbol and the colour of a group. */
export function state({ kind, symbol }, text) {
  return el("span", { class: `state ${kind}` }, el("span", { "aria-hidden": "true" }, symbol), ` ${text}`);
}
