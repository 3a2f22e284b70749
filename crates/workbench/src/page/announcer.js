// Announcements for screen readers.

import { byId } from "./dom.js";

export function announce(sentence) {
  const announcer = byId("announcer");
  // Emptied first, so that a repeated sentence is announced again.
  announcer.textContent = "";
  requestAnimationFrame(() => {
    announcer.textContent = sentence;
  });
}
