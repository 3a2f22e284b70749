// The server's events. The browser connects again by itself; whoever listens is told when it has.

import { announce } from "./announcer.js";
import { byId } from "./dom.js";

const PAUSE_MILLISECONDS = 3000;

const listeners = { delivery: [], reload: [] };
let lost = false;

/** `delivery` brings a summary, `reload` nothing: what was fetched before is to be fetched again. */
export function listen(name, listener) {
  listeners[name].push(listener);
}

export function connect() {
  const source = new EventSource("/workbench/live");
  source.addEventListener("open", () => {
    tell("live", "Live");
    if (!lost) return;
    lost = false;
    announce("The connection is back.");
    tellAll("reload");
  });
  source.addEventListener("error", () => {
    tell("lost", "Connection lost, trying again");
    if (!lost) announce("The connection to the workbench is lost. It is tried again.");
    lost = true;
    // After an answer that is no stream of events, the browser gives up.
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, PAUSE_MILLISECONDS);
  });
  source.addEventListener("delivery", (event) => tellAll("delivery", JSON.parse(event.data)));
  source.addEventListener("reload", () => tellAll("reload"));
}

function tellAll(name, value) {
  for (const listener of listeners[name]) listener(value);
}

function tell(state, words) {
  const place = byId("connection");
  place.dataset.connection = state;
  place.textContent = words;
}
