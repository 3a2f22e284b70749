// The steps of a delivery, in their times.

import { element } from "./dom.js";
import { duration } from "./words.js";

/** The steps of a delivery that took so many milliseconds, with its attempts at Amplitude: `{words, kind, from, to}`. */
function stepsOf(milliseconds, attempts) {
  const steps = [];
  let now = 0;
  attempts.forEach((attempt, index) => {
    const { after_milliseconds: from, milliseconds: took, status, problem } = attempt;
    const before = index === 0 ? "Project read, signature verified, event translated" : "Waited before trying again";
    if (from > now) steps.push({ words: before, kind: index === 0 ? "here" : "pause", from: now, to: from });
    const which = attempts.length > 1 ? `Attempt ${index + 1} at Amplitude` : "Amplitude";
    const answered = status !== null && status >= 200 && status < 300;
    steps.push({
      words: `${which}: ${status ?? problem ?? "no answer"}`,
      kind: answered ? "good" : "bad",
      from,
      to: from + took,
    });
    now = from + took;
  });
  const last = attempts.length > 0 ? "Stripe answered" : "Decided and answered here: nothing was sent";
  steps.push({ words: last, kind: "here", from: now, to: Math.max(milliseconds, now) });
  return steps;
}

export function timeline(milliseconds, attempts) {
  const steps = stepsOf(milliseconds, attempts);
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
