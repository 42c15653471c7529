// Follows the stream of events. `EventSource` cannot send a token, so the stream is read from `fetch`.

import { openStream } from "./api.js";

const SILENCE_MS = 45_000; // the server says something every 15 s
const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 30_000;

/** Calls `onEvent` with {what, time, workload, team, ...} for each event, and `onState` with "live" or "away".
 *
 * Goes on after the last event when the stream breaks. Ends with a Problem of status 401 or 403 through `onEnd`.
 * Returns a function that stops it.
 */
export function follow({ onEvent, onState, onEnd }) {
  const stopped = new AbortController();
  run(stopped.signal, onEvent, onState).catch((problem) => {
    if (!stopped.signal.aborted) onEnd(problem);
  });
  return () => stopped.abort();
}

async function run(stopped, onEvent, onState) {
  let last = null;
  let pause = FIRST_PAUSE_MS;
  while (!stopped.aborted) {
    const broken = new AbortController();
    const signal = AbortSignal.any([stopped, broken.signal]);
    try {
      const body = await openStream(last, signal);
      onState("live");
      pause = FIRST_PAUSE_MS;
      let ended = false;
      for await (const event of events(body, () => broken.abort())) {
        if ((ended = event.name === "end")) break; // the token has ended; the next request renews it
        last = event.id;
        onEvent(event.data);
      }
      if (ended) continue;
    } catch (error) {
      if (stopped.aborted) return;
      if (error.status === 401 || error.status === 403) throw error;
    }
    onState("away");
    await sleep(pause * (0.5 + Math.random() / 2), stopped); // many tabs do not come back at once
    pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
  }
}

/** Each event of a stream as {id, name, data}; `onSilence` is called when nothing comes for too long. */
async function* events(body, onSilence) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const timer = setTimeout(onSilence, SILENCE_MS);
    const { value, done } = await reader.read().finally(() => clearTimeout(timer));
    if (done) return;
    const blocks = (text + value).split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const fields = Object.fromEntries(block.split("\n").map((line) => cut(line)));
      if (fields.data !== undefined) yield { id: fields.id, name: fields.event, data: JSON.parse(fields.data) };
    }
  }
}

function cut(line) {
  const at = line.indexOf(": ");
  return [line.slice(0, at), line.slice(at + 2)];
}

function sleep(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
