// GPUs by cluster and node, as a grid: how much each is used, and what is wrong.

import { all } from "../api.js";
import { el, given, table } from "../dom.js";
import { count, gibibytes, moment, NOTHING, number, percent, words } from "../format.js";

export const title = "GPUs";

const STALE_MS = 120_000; // an agent reports several times a minute

export async function load() {
  const [nodes, gpus] = await Promise.all([all("/nodes"), all("/gpus")]);
  return { nodes, gpus, stale: gpus.filter((one) => Date.now() - new Date(one.observedAt) > STALE_MS).map((one) => one.gpu) };
}

export function draw({ nodes, gpus, stale }) {
  const old = new Set(stale);
  const byNode = Map.groupBy(gpus, (one) => `${one.cluster}/${one.node}`);
  const known = new Set(nodes.map((node) => `${node.cluster}/${node.name}`));
  const others = [...byNode].filter(([name]) => !known.has(name)).map(([, [one]]) => ({ cluster: one.cluster, name: one.node, gpus: null, excluded: false, faults: [], lastContact: one.observedAt }));
  const clusters = Map.groupBy([...nodes, ...others], (node) => node.cluster);
  return [
    el("h1", { tabindex: "-1" }, title),
    legend(),
    ...(clusters.size === 0 ? [el("p", { class: "empty" }, "No cluster has shown a node with GPUs.")] : []),
    ...[...clusters].map(([cluster, found]) => section(cluster, found, byNode, old)),
  ];
}

function legend() {
  const entries = [
    ["free", "0", "free"],
    ["idle", "0%", "allocated, below 5% used"],
    ["low", "30%", "5% to 39%"],
    ["middle", "60%", "40% to 79%"],
    ["high", "95%", "80% or more"],
    ["fault", "✕", "a fault"],
    ["unknown", "?", "no reading"],
  ];
  const items = entries.map(([kind, text, says]) => el("li", {}, el("span", { class: `gpu ${kind}`, "aria-hidden": "true" }, text), ` ${says}`));
  return el("ul", { class: "legend", "aria-label": "What the cells mean" }, ...items);
}

function section(cluster, nodes, byNode, old) {
  const cells = nodes.map((node) => [node, cellsOf(node, byNode.get(`${node.cluster}/${node.name}`) ?? [], old)]);
  const every = cells.flatMap(([, some]) => some);
  const taken = every.filter((cell) => cell.gpu?.allocated).length;
  const faulty = every.filter((cell) => cell.kind === "fault").length;
  const excluded = nodes.filter((node) => node.excluded).length;
  const sums = [count(every.length, "GPU"), `${number(taken)} allocated`, `${number(faulty)} with a fault`, `${count(excluded, "node")} excluded`];
  return el(
    "section",
    { "aria-label": `Cluster ${cluster}` },
    el("h2", {}, "Cluster ", given(cluster)),
    el("p", {}, sums.join(", "), "."),
    el("ul", { class: "nodes" }, ...cells.map(([node, some]) => nodeCard(node, some))),
  );
}

/** A cell for each GPU that is reported, and for each that only the cluster knows of. */
function cellsOf(node, gpus, old) {
  const wholeNode = node.faults.some((fault) => fault.gpu === null && fault.blame !== "pod");
  const sorted = gpus.toSorted((a, b) => a.index - b.index || a.gpu.localeCompare(b.gpu));
  const cells = sorted.map((gpu) => {
    const faults = node.faults.filter((fault) => fault.gpu === gpu.gpu);
    const bad = wholeNode || gpu.state !== "ok" || faults.some((fault) => fault.blame !== "pod");
    return { gpu, faults, kind: bad ? "fault" : old.has(gpu.gpu) ? "unknown" : useOf(gpu) };
  });
  const expected = Object.values(node.gpus ?? {}).reduce((sum, many) => sum + many, 0);
  while (cells.length < expected) cells.push({ gpu: null, faults: [], kind: wholeNode ? "fault" : "unknown" });
  return cells;
}

function useOf({ allocated, utilizationPercent: used }) {
  if (used === null) return allocated ? "low" : "free";
  if (used >= 80) return "high";
  if (used >= 40) return "middle";
  if (used >= 5) return "low";
  return allocated ? "idle" : "free";
}

function nodeCard(node, cells) {
  const skus = Object.entries(node.gpus ?? {}).map(([sku, many]) => `${many} × ${sku}`);
  const readings = cells.filter((cell) => cell.gpu !== null);
  const key = `${node.cluster}/${node.name}`;
  return el(
    "li",
    { class: `node${node.excluded ? " excluded" : ""}` },
    el("h3", {}, given(node.name)),
    el("p", { class: "of" }, given(skus.join(", ") || NOTHING)),
    el("ul", { class: "gpus", "aria-label": `GPUs of ${node.name}` }, ...cells.map(cellItem)),
    node.excluded ? el("p", { class: "warning" }, "⚠ Takes no new pods: ", given(exclusion(node))) : null,
    node.faults.length > 0 ? el("ul", { class: "faults" }, ...node.faults.map(faultItem)) : null,
    readings.length > 0 ? details(key, readings) : el("p", { class: "of" }, "Its agent does not report."),
  );
}

function exclusion({ excludedBy, reason, faultySince, provenAt }) {
  if (excludedBy) return `${excludedBy} excluded it${reason ? ` (${reason})` : ""}.`;
  if (provenAt) return `it had a fault, and is taken again at ${moment(provenAt)}.`;
  return `a fault since ${moment(faultySince)}.`;
}

function faultItem({ kind, xid, message, raisedAt, blame }) {
  const name = kind === "xid" ? `XID ${xid}` : words(kind);
  const of = { pod: "of the program", gpu: "of the GPU", node: "of the node" }[blame] ?? "";
  return el("li", { class: blame === "pod" ? "program" : null }, `✕ ${name}, a fault ${of}, since ${moment(raisedAt)}. `, given(message));
}

function cellItem({ gpu, faults, kind }) {
  const text = { fault: "✕", unknown: "?", free: "0" }[kind] ?? percent(gpu.utilizationPercent);
  return el("li", { class: `gpu ${kind}` }, el("span", { "aria-hidden": "true" }, text), el("span", { class: "visually-hidden" }, given(says(gpu, faults, kind))));
}

function says(gpu, faults, kind) {
  if (gpu === null) return kind === "fault" ? "a GPU of a node with a fault" : "a GPU without a reading";
  const whose = gpu.name ? `allocated to ${gpu.name}` : gpu.allocated ? "allocated to a workload" : "free";
  const wrong = faults.map((fault) => words(fault.kind)).join(", ");
  return `GPU ${gpu.index}: ${percent(gpu.utilizationPercent)} used, ${whose}${wrong ? `, fault: ${wrong}` : ""}${kind === "unknown" ? ", no reading for some time" : ""}`;
}

function details(key, cells) {
  const columns = [["GPU", ""], ["Used", "number"], ["Memory", "number"], ["Temperature", "number"], ["Power", "number"], ["Workload", ""]];
  const rows = cells.map(({ gpu }) => [
    [`${gpu.index}`, gpu.profile ? el("span", { class: "of" }, given(gpu.profile)) : null].filter(Boolean),
    percent(gpu.utilizationPercent),
    `${gibibytes(gpu.memoryUsedBytes)} of ${gibibytes(gpu.memoryTotalBytes)}`,
    gpu.temperatureCelsius === null ? NOTHING : `${number(gpu.temperatureCelsius)} °C`,
    gpu.powerWatts === null ? NOTHING : `${number(gpu.powerWatts)} W`,
    gpu.workload ? el("a", { href: `#/workloads/${encodeURIComponent(gpu.workload)}` }, given(gpu.name)) : gpu.allocated ? "another's" : NOTHING,
  ]);
  return el("details", { "data-key": `details ${key}` }, el("summary", { "data-key": `summary ${key}` }, "Numbers"), table(`GPUs of ${key}`, columns, rows));
}
