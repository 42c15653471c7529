// What happens to a workload, in words: the actions of the audit log.

import { words } from "./format.js";

const NAMES = {
  "workload.rejected": "rejected",
  "workload.withdrawn": "withdrawn",
  "workload.cluster_lost": "lost its cluster",
  "plan.proposed": "submitted",
  "plan.adopted": "taken over",
  "plan.queued": "queued",
  "plan.awaiting_approval": "awaits approval",
  "plan.approved": "approved",
  "plan.denied": "denied",
  "plan.superseded": "replaced by a newer plan",
  "plan.expired": "expired",
  "plan.waiting": "waits for the cluster",
  "plan.resumed": "resumed",
  "deployment.intended": "about to be applied",
  "deployment.applied": "applied",
  "deployment.healthy": "healthy",
  "deployment.completed": "completed",
  "deployment.degraded": "degraded",
  "deployment.unhealthy": "unhealthy",
  "deployment.failed": "failed",
  "deployment.gone": "gone from the cluster",
  "deployment.labels_restored": "labels restored",
  "deployment.removed": "removed",
  "deployment.rolledback": "rolled back",
};
const ENDS = {
  healthy: "good",
  completed: "good",
  denied: "bad",
  rejected: "bad",
  failed: "bad",
  unhealthy: "bad",
  degraded: "bad",
  "gone from the cluster": "bad",
};

/** An action as a word or two. detail: of its entry. */
export function nameOf({ what, detail }) {
  if (what === "plan.proposed" && detail.source && detail.source !== "user") return `${words(detail.verb ?? "a change")} proposed`;
  return NAMES[what] ?? words(what.replaceAll(".", " "));
}

/** "good", "bad" or "": what a step says of the workload. */
export function endOf(name) {
  return ENDS[name] ?? "";
}
