// Chooses the view that the address names, keeps it fresh, and asks for a login where there is none.
//
// A view has a title and two functions: `load` asks the API, `draw` makes elements of the answer. It is loaded again
// some time after an event of the stream, and now and then, because not everything that it shows makes an event.

import { get, logOut, resume } from "./api.js";
import { el, given, replace } from "./dom.js";
import { count, moment } from "./format.js";
import { loginForm } from "./login.js";
import { nameOf } from "./steps.js";
import { follow } from "./stream.js";
import * as cost from "./views/cost.js";
import * as gpus from "./views/gpus.js";
import * as overview from "./views/overview.js";
import * as queue from "./views/queue.js";
import * as simulate from "./views/simulate.js";
import * as workload from "./views/workload.js";

const VIEWS = { "": overview, queue, gpus, cost, simulate, workloads: workload };
const LINKS = [
  ["#/", "Overview"],
  ["#/queue", "Queue"],
  ["#/gpus", "GPUs"],
  ["#/cost", "Cost"],
  ["#/simulate", "Simulate"],
];
const AFTER_EVENT_MS = 700;
const BETWEEN_MS = 3000; // of two loads because of events
const ANYWAY_MS = 15_000;
const ANNOUNCE_MS = 10_000; // a screen reader is told of events at most so often
const KEPT_EVENTS = 6;
const OPEN_SELECT = CSS.supports("selector(select:open)") ? "select:open" : null;

const [main, nav, session, live, who, announcer, notice] = ["main", "nav", "session", "live", "who", "announcer", "notice"].map(
  (id) => document.getElementById(id),
);
const recent = []; // the newest events of the stream, newest first
const named = new Map(); // names of the workloads of these, by id
let unsaid = 0; // events that a screen reader has not been told of
let saying = null;
let loadedAt = 0;
let mayRead = false;
let place = ""; // the view that is shown, and of what
let stopStream = null;
let soon = null;
let turn = 0; // of the newest load: what an older one brings is not shown
let shown = ""; // what the page shows, as text: the same again is not drawn again

async function start() {
  let loggedIn = false;
  try {
    loggedIn = await resume();
  } catch (problem) {
    return failed(problem);
  }
  if (loggedIn) await enter({ focus: false });
  else leave();
}

async function enter({ focus }) {
  const me = await get("/auth/me");
  replace(who, given(me.actor.replace(/^[a-z-]+:/, "")), ` (${rolesOf(me)})`);
  mayRead = me.roles.length > 0; // every role reads what the views show, of its own team at least
  session.hidden = false;
  nav.hidden = !mayRead;
  stopStream?.();
  if (!mayRead) {
    document.title = "No role – Sentinel";
    replace(main, el("h1", { tabindex: "-1" }, "You have no role yet"), el("p", {}, "An admin can give you one. Then load this page again."));
    return;
  }
  stopStream = follow({ onEvent: heard, onState: streamIs, onEnd: failed });
  await navigate({ focus });
}

function rolesOf(me) {
  if (me.roles.length === 0) return "no role";
  return me.roles.map(({ role, team }) => `${role}${team === null ? "" : ` of ${team}`}`).join(", ");
}

/** Shows the form, without anything of whoever was there before. */
function leave(message = "") {
  stopStream?.();
  stopStream = null;
  recent.length = 0;
  named.clear();
  clearTimeout(saying);
  saying = null;
  unsaid = 0;
  turn += 1;
  shown = "";
  mayRead = false;
  place = "";
  for (const part of [nav, session, notice]) part.hidden = true;
  document.title = "Log in – Sentinel";
  replace(main, loginForm(message, () => enter({ focus: true }).catch(failed)));
  main.querySelector("input").focus();
}

/** {view, argument, query} of the address: `#/workloads/<id>`, `#/cost?by=sku`. */
function route() {
  const [path, search = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, argument = ""] = path.split("/");
  return { view: VIEWS[name], name, argument, query: Object.fromEntries(new URLSearchParams(search)) };
}

/** focus: whether the heading of the view gets it, so that a screen reader says where one is. */
async function navigate({ focus }) {
  if (!mayRead) return;
  const { view, name, argument } = route();
  if (view === undefined) {
    location.replace("#/");
    return;
  }
  const links = LINKS.map(([href, text]) => {
    const here = href === `#/${name}` || (name === "workloads" && href === "#/");
    return el("a", { href, "aria-current": here ? "page" : null }, text);
  });
  replace(nav, el("ul", {}, ...links.map((link) => el("li", {}, link))));
  main.setAttribute("aria-busy", "true");
  const moved = place !== `${name}/${argument}`; // otherwise the same view shows other rows, and keeps the focus
  if (moved) {
    place = `${name}/${argument}`;
    shown = "";
    document.title = `${view.title} – Sentinel`;
    replace(main, el("h1", { tabindex: "-1" }, view.title), el("p", {}, "Loading…"));
  }
  await refresh();
  if (moved && focus) {
    window.scrollTo(0, 0);
    main.querySelector("h1")?.focus({ preventScroll: true });
  }
}

/** Loads the view of the address again, and draws it where that has changed something. */
async function refresh() {
  clearTimeout(soon);
  soon = null;
  if (OPEN_SELECT && main.querySelector(OPEN_SELECT)) { // a list that is being chosen from stays open
    soon = setTimeout(refresh, AFTER_EVENT_MS);
    return;
  }
  turn += 1;
  const mine = turn;
  const where = route();
  try {
    const data = await where.view.load(where);
    if (mine !== turn) return;
    loadedAt = Date.now();
    notice.hidden = true;
    const text = JSON.stringify(data);
    if (text !== shown) {
      shown = text;
      replace(main, ...where.view.draw(data, where));
      document.title = `${main.querySelector("h1")?.textContent ?? where.view.title} – Sentinel`;
      drawRecent();
    }
  } catch (problem) {
    if (mine === turn) failed(problem);
  } finally {
    if (mine === turn) main.removeAttribute("aria-busy");
  }
}

function failed(problem) {
  if (problem.status === 401) return leave("Your login has ended. Log in again.");
  const away = problem.status === 0 || problem.status === 429 || problem.status >= 500;
  if (away && shown !== "") {
    notice.textContent = `${problem.message} What you see is of ${moment(new Date(loadedAt).toISOString())}.`;
    notice.hidden = false;
    return;
  }
  shown = "";
  notice.hidden = true;
  const title = { 403: "You may not see this", 404: "Not found" }[problem.status] ?? "That did not work";
  const again = el("button", { type: "button", "data-key": "again", on: { click: () => (mayRead ? refresh() : start()) } }, "Try again");
  document.title = `${title} – Sentinel`;
  replace(main, el("h1", { tabindex: "-1" }, title), el("p", { role: "alert" }, given(problem.message)), again);
  if (problem.status === undefined) throw problem; // a defect of the page
}

function heard(event) {
  recent.unshift(event);
  recent.length = Math.min(recent.length, KEPT_EVENTS);
  drawRecent();
  unsaid += 1;
  saying ??= setTimeout(announce, ANNOUNCE_MS);
  if (!route().view?.steady) soon ??= setTimeout(refresh, Math.max(AFTER_EVENT_MS, loadedAt + BETWEEN_MS - Date.now()));
}

/** Says how much has happened, in one sentence for all of it. */
function announce() {
  const [newest] = recent;
  const name = named.get(newest.workload);
  announcer.textContent = `${count(unsaid, "change")}; the last: ${name ? `${name} ` : ""}${nameOf(newest)}.`;
  saying = null;
  unsaid = 0;
}

/** The list of what has happened, where the view has a place for it. */
function drawRecent() {
  const place = document.getElementById("recent");
  if (place === null || recent.length === 0) return;
  const line = (event) =>
    el(
      "li",
      {},
      el("time", { datetime: event.time }, moment(event.time)),
      el("a", { href: `#/workloads/${encodeURIComponent(event.workload)}` }, given(named.get(event.workload) ?? event.workload.slice(0, 8))),
      el("span", { class: "what" }, nameOf(event)),
      el("span", { class: "of" }, given(event.team ?? "")),
    );
  replace(place, ...recent.map(line));
  nameRecent();
}

/** Asks for the names that are not known yet, each once. */
async function nameRecent() {
  const unknown = [...new Set(recent.map((event) => event.workload))].filter((id) => !named.has(id));
  if (unknown.length === 0) return;
  if (named.size > 1000) named.clear();
  for (const id of unknown) named.set(id, null);
  await Promise.allSettled(unknown.map(async (id) => named.set(id, (await get(`/workloads/${encodeURIComponent(id)}`)).name)));
  drawRecent();
}

function streamIs(state) {
  const back = state === "live" && live.classList.contains("away");
  const text = state === "live" ? "Live" : "Not live, reconnecting…";
  if (live.textContent !== text) live.textContent = text;
  live.className = `live ${state}`;
  if (back && mayRead && !route().view?.steady) refresh(); // before the first event there is none to go on after
}

window.addEventListener("hashchange", () => navigate({ focus: true }));
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address names a view, not a place in the page
  main.focus();
});
document.getElementById("logout").addEventListener("click", async () => {
  await logOut();
  leave();
  announcer.textContent = "You are logged out.";
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && mayRead && !route().view?.steady) refresh();
});
setInterval(() => {
  if (!document.hidden && mayRead && !route().view?.steady && soon === null) refresh();
}, ANYWAY_MS);

start();
