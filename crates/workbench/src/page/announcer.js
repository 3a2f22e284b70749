// What a screen reader says, politely.

import { byId } from "./dom.js";

export function announce(sentence) {
  const announcer = byId("announcer");
  // The same sentence a second time is news, too.
  announcer.textContent = "";
  requestAnimationFrame(() => {
    announcer.textContent = sentence;
  });
}
