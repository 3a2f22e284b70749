// The steps of a delivery with their times.

import { element } from "./dom.js";
import { duration } from "./words.js";

/**
 * The steps of a delivery, from its total time, its reads from Stripe's API and its attempts at Amplitude:
 * `{words, kind, from, to}`, in milliseconds.
 */
function stepsOf(milliseconds, reads, attempts) {
  const steps = [];
  let now = 0;
  for (const { after_milliseconds: from, milliseconds: took, status, problem } of reads.filter(({ cached }) => !cached)) {
    if (from > now && now === 0) steps.push({ words: "Project read, signature verified", kind: "here", from: 0, to: from });
    steps.push({ words: `Stripe’s API: ${status ?? problem}`, kind: problem ? "bad" : "good", from, to: from + took });
    now = from + took;
  }
  const wasRead = now > 0;
  attempts.forEach((attempt, index) => {
    const { after_milliseconds: from, milliseconds: took, status, problem } = attempt;
    const first = wasRead ? "Event translated" : "Project read, signature verified, event translated";
    const before = index === 0 ? first : "Back-off";
    if (from > now) steps.push({ words: before, kind: index === 0 ? "here" : "pause", from: now, to: from });
    const which = attempts.length > 1 ? `Attempt ${index + 1} at Amplitude` : "Amplitude";
    const answered = status !== null && status >= 200 && status < 300;
    steps.push({
      words: `${which}: ${status ?? problem ?? "no response"}`,
      kind: answered ? "good" : "bad",
      from,
      to: from + took,
    });
    now = from + took;
  });
  const last = attempts.length > 0 ? "Response sent" : "Response sent, nothing forwarded";
  steps.push({ words: last, kind: "here", from: now, to: Math.max(milliseconds, now) });
  return steps;
}

export function timeline(milliseconds, reads, attempts) {
  const steps = stepsOf(milliseconds, reads, attempts);
  const whole = Math.max(...steps.map(({ to }) => to), 0.001);
  const list = element("ol", { class: "timeline", id: "timeline" });
  for (const { words, kind, from, to } of steps) {
    const bar = element(
      "span",
      { class: "bar-of-time", "aria-hidden": "true" },
      element("span", { "data-kind": kind }),
    );
    bar.firstChild.style.left = `${(100 * from) / whole}%`;
    bar.firstChild.style.width = `${(100 * (to - from)) / whole}%`;
    list.append(
      element(
        "li",
        {},
        element("span", { class: "step" }, words),
        bar,
        element("span", { class: "took" }, duration(to - from)),
      ),
    );
  }
  return list;
}
