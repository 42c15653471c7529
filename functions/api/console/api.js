// The REST API, as the user who has logged in.
//
// The access token is in this module's memory alone and counts for 15 minutes. The refresh token is a cookie that no
// script can read: what a script could read of storage, a script of somebody else could take away. The token counts
// once, so only one tab at a time may use it: a lock of the browser holds the others back.

const PREFIX = "/api/v1";
const EARLY_MS = 30_000; // a token is renewed so long before its end
const LOGGED_IN = "sentinel-logged-in"; // in the browser's storage: whether there is a login to go on with, and no more

let token = null;
let endsAt = 0;
let renewing = null;

/** What the API has refused. status: 0 when nothing answered. errors: of fields, each {field, message}. */
export class Problem extends Error {
  constructor(status, detail, errors = []) {
    super(detail);
    this.status = status;
    this.errors = errors;
  }
}

/** Raises Problem. */
export async function logIn(name, password) {
  keep(await sent("POST", "/auth/login", { name, password, cookie: true }));
  localStorage.setItem(LOGGED_IN, "yes");
}

/** Goes on with the login of the cookie; false when there is none that counts. Raises Problem for any other reason. */
export async function resume() {
  if (localStorage.getItem(LOGGED_IN) === null) return false;
  try {
    await current();
    return true;
  } catch (problem) {
    if (problem.status !== 401) throw problem;
    localStorage.removeItem(LOGGED_IN);
    return false;
  }
}

export async function logOut() {
  token = null;
  localStorage.removeItem(LOGGED_IN);
  await sent("POST", "/auth/logout", {}).catch(() => null); // the tab forgets the login, whatever the answer
}

export function get(path, query = {}) {
  const chosen = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const search = new URLSearchParams(chosen).toString();
  return authorized("GET", search ? `${path}?${search}` : path);
}

export function post(path, body) {
  return authorized("POST", path, body);
}

/** The items of all pages of a list, `most` of them at most. */
export async function all(path, query = {}, most = 10_000) {
  const items = [];
  let cursor = null;
  do {
    const page = await get(path, { ...query, limit: Math.min(1000, most), cursor });
    items.push(...page.items);
    cursor = page.next;
  } while (cursor !== null && items.length < most);
  return items;
}

/** The stream of events, from now on or after an event. Raises Problem. */
export async function openStream(lastEventId, signal) {
  const headers = { authorization: `Bearer ${await current()}` };
  if (lastEventId) headers["last-event-id"] = lastEventId;
  const answer = await asked(`${PREFIX}/events/stream`, { headers, signal });
  if (answer.status === 401) token = null;
  if (!answer.ok) throw await problemOf(answer);
  return answer.body;
}

async function authorized(method, path, body) {
  try {
    return await sent(method, path, body, await current());
  } catch (problem) {
    if (problem.status !== 401) throw problem;
    token = null; // it was revoked, or this machine slept
    return sent(method, path, body, await current());
  }
}

async function current() {
  if (token === null || Date.now() > endsAt - EARLY_MS) {
    renewing ??= renew().finally(() => (renewing = null));
    await renewing;
  }
  return token;
}

function renew() {
  const next = async () => keep(await sent("POST", "/auth/refresh", {}));
  return navigator.locks ? navigator.locks.request("sentinel-refresh", next) : next();
}

function keep(answer) {
  token = answer.accessToken;
  endsAt = Date.now() + answer.expiresIn * 1000;
}

async function sent(method, path, body, bearer) {
  const headers = {};
  if (bearer) headers.authorization = `Bearer ${bearer}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  const text = typeof body === "string" ? body : body === undefined ? undefined : JSON.stringify(body);
  const answer = await asked(PREFIX + path, { method, headers, body: text });
  if (!answer.ok) throw await problemOf(answer);
  return answer.status === 204 ? null : answer.json();
}

async function asked(url, options) {
  try {
    return await fetch(url, { cache: "no-store", redirect: "error", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "The server does not answer.");
  }
}

async function problemOf(answer) {
  const found = await answer.json().catch(() => ({}));
  return new Problem(answer.status, found.detail ?? `The server answered ${answer.status}.`, found.errors ?? []);
}
