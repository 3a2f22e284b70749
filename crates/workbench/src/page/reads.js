// The reads from Stripe's API for a delivery: each request, why it was made, and what it found.

import { element } from "./dom.js";
import { status } from "./outcome.js";
import { duration } from "./words.js";

/** A heading and the reads; nothing if there were none. */
export function reads({ url, reads: all }) {
  if (all.length === 0) return [];
  return [
    element("h2", { id: "reads-heading" }, "Read from Stripe’s API"),
    element("p", { class: "hint" }, `From ${url}. Only the values at the paths are shown.`),
    element("ol", { class: "reads", id: "reads", "aria-labelledby": "reads-heading" }, ...all.map(read)),
  ];
}

function read({ path, cached, status: code, milliseconds, problem, only_named: onlyNamed, is_there: isThere, served, found }) {
  const how = cached
    ? [element("span", { class: "from-cache" }, "from cache")]
    : [code === null ? "no response" : status(code), ` in ${duration(milliseconds)}`];
  const none = !problem && !isThere ? "Does not exist." : null;
  const nothing = onlyNamed ? "The local Stripe knows only its ID." : none;
  return element(
    "li",
    { "data-cached": String(cached), "data-served": served ?? "" },
    element("p", { class: "request" }, `GET ${path}`),
    element("p", {}, ...how, served ? " for " : "", served ? element("code", {}, served) : null),
    problem ? element("p", { class: "notice" }, problem) : null,
    nothing ? element("p", { class: "hint" }, nothing) : null,
    found.length > 0 ? element("dl", { class: "found" }, ...found.flatMap(pair)) : null,
  );
}

function pair({ at, value, not }) {
  const what = value === undefined ? element("span", { class: "hint" }, not) : element("code", {}, value);
  return [element("dt", {}, element("code", {}, at)), element("dd", { "data-at": at }, what)];
}
