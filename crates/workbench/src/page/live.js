// The server's events. The browser reconnects automatically; listeners are notified when it has.

import { announce } from "./announcer.js";
import { byId } from "./dom.js";

const PAUSE_MILLISECONDS = 3000;

const listeners = { delivery: [], reload: [] };
let lost = false;
let source = null;

/** `delivery` has a summary; `reload` has nothing and means that everything must be fetched again. */
export function listen(name, listener) {
  listeners[name].push(listener);
}

export function connect() {
  // A browser opens at most six connections to a server. A tab in the background must not hold one.
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  open();
}

function open() {
  if (source || document.hidden) return;
  source = new EventSource("/workbench/live");
  source.addEventListener("open", () => {
    showState("live", "Live");
    if (lost) announce("Connection restored.");
    lost = false;
    // The server does not repeat events from before the connection.
    notify("reload");
  });
  source.addEventListener("error", () => {
    showState("lost", "Connection lost, retrying");
    if (!lost) announce("Connection to the workbench lost. Retrying.");
    lost = true;
    // The browser gives up after a response that is not an event stream.
    if (source?.readyState !== EventSource.CLOSED) return;
    close();
    setTimeout(open, PAUSE_MILLISECONDS);
  });
  source.addEventListener("delivery", (event) => notify("delivery", JSON.parse(event.data)));
  source.addEventListener("reload", () => notify("reload"));
}

function close() {
  source?.close();
  source = null;
}

function notify(name, value) {
  for (const listener of listeners[name]) listener(value);
}

function showState(state, words) {
  const place = byId("connection");
  place.dataset.connection = state;
  place.textContent = words;
}
