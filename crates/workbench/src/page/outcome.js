// The outcomes of a delivery, each with a sign of its own beside its colour.

import { element } from "./dom.js";

export const OUTCOMES = {
  forwarded: { sign: "✓", meaning: "Amplitude accepted the event." },
  ignored: { sign: "–", meaning: "Signed, and deliberately not forwarded: its type, or what the settings ignore." },
  queued: { sign: "→", meaning: "It is safe in the redelivery queue, where every event goes first." },
  deferred: { sign: "↻", meaning: "It could not be delivered now, and is safe in the redelivery queue." },
  refused: { sign: "✕", meaning: "The request was wrong: its signature, its body or its path." },
  failed: { sign: "!", meaning: "The event is not in Amplitude; Stripe delivers it again." },
};

export const REPEAT = "a repeat: Amplitude dropped it, nothing is counted twice";

export function badge(outcome, status) {
  const sign = element("span", { "aria-hidden": "true" }, OUTCOMES[outcome]?.sign ?? "?");
  return element(
    "span",
    { class: "badge", "data-outcome": outcome },
    sign,
    ` ${outcome} `,
    element("span", { class: "status" }, `${status}`),
  );
}

/** What Stripe does after an answer. */
export function whatStripeDoes(status) {
  if (status >= 200 && status < 300) return "Stripe takes the event for delivered, and does not send it again.";
  return "Not 2xx: Stripe shows this answer beside the failed delivery, and delivers the event again, with growing pauses, for three days.";
}

/** An HTTP status, in the colour of its kind. */
export function status(code) {
  return element("span", { class: "code-of-status", "data-good": String(code >= 200 && code < 300) }, `${code}`);
}
