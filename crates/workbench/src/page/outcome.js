// The outcomes of a delivery. Each has a sign, so that colour is not the only difference.

import { element } from "./dom.js";

export const OUTCOMES = {
  forwarded: { sign: "✓", meaning: "Amplitude accepted the event." },
  ignored: { sign: "–", meaning: "Signed, but not forwarded: its type is not selected, or the settings ignore it." },
  queued: { sign: "→", meaning: "The event is in the redelivery queue, where every event goes first." },
  deferred: { sign: "↻", meaning: "The event could not be delivered yet and is in the redelivery queue." },
  refused: { sign: "✕", meaning: "The request was invalid: its signature, its body or its path." },
  failed: { sign: "!", meaning: "The event is not in Amplitude. Stripe retries the delivery." },
};

export const REPEAT = "A repeat: Amplitude dropped it, so nothing is counted twice.";

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

/** What Stripe does after a response. */
export function whatStripeDoes(status) {
  if (status >= 200 && status < 300) return "Stripe considers the event delivered and does not send it again.";
  return "Not 2xx: Stripe shows this response with the failed delivery, and retries with back-off for three days.";
}

/** An HTTP status in the colour of its class. */
export function status(code) {
  return element("span", { class: "code-of-status", "data-good": String(code >= 200 && code < 300) }, `${code}`);
}
