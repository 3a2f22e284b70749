// The server's events. The browser connects again by itself; whoever listens is told when it has.

import { announce } from "./announcer.js";
import { byId } from "./dom.js";

const PAUSE_MILLISECONDS = 3000;

const listeners = { delivery: [], reload: [] };
let lost = false;
let source = null;

/** `delivery` brings a summary, `reload` nothing: what was fetched before is to be fetched again. */
export function listen(name, listener) {
  listeners[name].push(listener);
}

export function connect() {
  // A browser opens six connections to a server in all; a tab in the background shall not hold one.
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  open();
}

function open() {
  if (source || document.hidden) return;
  source = new EventSource("/workbench/live");
  source.addEventListener("open", () => {
    tell("live", "Live");
    if (lost) announce("The connection is back.");
    lost = false;
    // What came before the connection was there is not told again.
    tellAll("reload");
  });
  source.addEventListener("error", () => {
    tell("lost", "Connection lost, trying again");
    if (!lost) announce("The connection to the workbench is lost. It is tried again.");
    lost = true;
    // After an answer that is no stream of events, the browser gives up.
    if (source?.readyState !== EventSource.CLOSED) return;
    close();
    setTimeout(open, PAUSE_MILLISECONDS);
  });
  source.addEventListener("delivery", (event) => tellAll("delivery", JSON.parse(event.data)));
  source.addEventListener("reload", () => tellAll("reload"));
}

function close() {
  source?.close();
  source = null;
}

function tellAll(name, value) {
  for (const listener of listeners[name]) listener(value);
}

function tell(state, words) {
  const place = byId("connection");
  place.dataset.connection = state;
  place.textContent = words;
}
