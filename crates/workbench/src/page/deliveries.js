// The list of deliveries: fetched once, then updated by the server's events.

import { write } from "./address.js";
import { announce } from "./announcer.js";
import { get } from "./api.js";
import { byId, element, tell } from "./dom.js";
import { listen } from "./live.js";
import { badge, REPEAT } from "./outcome.js";
import { count, duration, fullMoment, moment } from "./words.js";

const ROWS = 200;
const PAGE = 100;
const TYPING_MILLISECONDS = 250;
const ANNOUNCING_MILLISECONDS = 5000;

let filters = { outcome: "", type: "", user: "" };
let visible = false;
let fetched = null; // The filters of the rows in the table, as an address.
let fetching = null; // An AbortController.
let rows = ROWS; // How many rows are kept; "Show older" raises it.
let more = false; // Whether the server has older deliveries.
let waiting = []; // Summaries that arrived and are not in the table yet.
let missed = false; // Whether more arrived than can wait, so the table would have a gap.
let drawing = false;
let paused = false;
let unannounced = 0;
const suggested = new Set();

export function start() {
  const form = byId("filters");
  let typing;
  form.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(filter, TYPING_MILLISECONDS);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    filter();
  });
  const clear = () => {
    form.reset();
    filter();
    byId("filter-outcome").focus();
  };
  byId("clear-filters").addEventListener("click", clear);
  byId("clear-filters-too").addEventListener("click", clear);
  byId("pause").addEventListener("click", pause);
  byId("older").addEventListener("click", older);
  body().addEventListener("click", open);
  body().addEventListener("keydown", move);
  listen("delivery", receive);
  listen("reload", () => {
    fetched = null;
    if (visible) load();
  });
  setInterval(announceNew, ANNOUNCING_MILLISECONDS);
}

export function show(choices) {
  visible = true;
  filters = { outcome: choices.outcome ?? "", type: choices.type ?? "", user: choices.user ?? "" };
  for (const [name, value] of Object.entries(filters)) byId(`filter-${name}`).value = value;
  byId("back").href = write("deliveries", filters);
  if (fetched !== write("deliveries", filters)) load();
  else draw();
}

export function hide() {
  visible = false;
}

/** The link that gets the focus when the user comes back from a delivery: its row, if it still exists. */
export function returnTo(number) {
  return rowOf(number)?.querySelector("a");
}

/** The numbers of the next newer and older deliveries, if the list has them. */
export function neighbours(number) {
  const row = rowOf(number);
  return { newer: row?.previousElementSibling?.dataset.delivery, older: row?.nextElementSibling?.dataset.delivery };
}

function body() {
  return byId("deliveries-rows");
}

function rowOf(number) {
  return body().querySelector(`[data-delivery="${number}"]`);
}

function filter() {
  const chosen = Object.fromEntries(new FormData(byId("filters")));
  const address = write("deliveries", chosen);
  if (address === write("deliveries", filters)) return;
  // Replaced, so that going back leaves the list and does not step through each keystroke.
  history.replaceState(null, "", address);
  show(chosen);
}

async function load() {
  fetching?.abort();
  const request = new AbortController();
  fetching = request;
  const address = write("deliveries", filters);
  try {
    const page = await get("deliveries", filters, request.signal);
    rows = ROWS;
    missed = false;
    more = page.more;
    fetched = address;
    body().replaceChildren(...page.deliveries.map(row));
    tell(byId("deliveries-problem"), null);
  } catch (error) {
    if (error.name === "AbortError") return;
    tell(byId("deliveries-problem"), error.message);
  }
  fetching = null;
  draw();
}

async function older() {
  const last = body().lastElementChild;
  if (!last || fetching) return;
  const request = new AbortController();
  fetching = request;
  try {
    const page = await get("deliveries", { ...filters, before: last.dataset.delivery }, request.signal);
    rows = Math.max(rows, body().children.length + PAGE);
    more = page.more;
    body().append(...page.deliveries.filter(({ number }) => !rowOf(number)).map(row));
    tell(byId("deliveries-problem"), null);
    // The button may be hidden now, which would lose the focus.
    last.nextElementSibling?.querySelector("a").focus();
  } catch (error) {
    if (error.name === "AbortError") return;
    tell(byId("deliveries-problem"), error.message);
  }
  fetching = null;
  draw();
}

function receive(summary) {
  // A row that is already in the table may have changed.
  if (!matches(summary) && !rowOf(summary.number)) return;
  waiting.push(summary);
  if (waiting.length > ROWS) {
    waiting.shift();
    missed = true;
  }
  unannounced += 1;
  suggest(summary.type);
  if (paused) showPause();
  // Hundreds may arrive in a second: they are inserted together, with the next frame.
  if (visible && !paused && !drawing) {
    drawing = true;
    requestAnimationFrame(draw);
  }
}

/** Filters like the server. */
function matches({ outcome, type, user }) {
  const has = (text, part) => !part || (text ?? "").toLowerCase().includes(part.toLowerCase());
  return (!filters.outcome || outcome === filters.outcome) && has(type, filters.type) && has(user, filters.user);
}

function draw() {
  drawing = false;
  if (fetching) return;
  if (missed && !paused) {
    missed = false;
    load();
    return;
  }
  if (!paused) {
    for (const summary of waiting) if (matches(summary)) put(summary);
    waiting = [];
    while (body().children.length > rows) {
      body().lastElementChild.remove();
      more = true;
    }
  }
  const empty = body().children.length === 0 && fetched !== null;
  const filtered = Object.values(filters).some((value) => value);
  byId("deliveries-table").hidden = empty;
  byId("deliveries-empty").hidden = !empty || filtered;
  byId("deliveries-unmatched").hidden = !empty || !filtered;
  byId("older").hidden = empty || !more;
  showPause();
}

function put(summary) {
  const next = row(summary);
  const existing = rowOf(summary.number);
  if (existing) {
    const focused = existing.contains(document.activeElement);
    existing.replaceWith(next);
    if (focused) next.querySelector("a").focus();
    return;
  }
  // Newest first. They arrive almost in order, so the place is near the top.
  let below = body().firstElementChild;
  while (below && Number(below.dataset.delivery) > summary.number) below = below.nextElementSibling;
  if (below || !more) body().insertBefore(next, below);
}

function row(summary) {
  suggest(summary.type);
  const { number, received, project, event, type, outcome, status, code, reason, user, revenue, repeat, milliseconds } =
    summary;
  const cell = (name, ...children) => element("td", { role: "cell", class: name }, ...children);
  const time = element(
    "time",
    { datetime: new Date(received).toISOString(), title: fullMoment(received) },
    moment(received),
  );
  const link = element("a", { href: `#deliveries/${number}` }, type ?? "(no event)");
  const why = reason
    ? element("span", { class: "reason", title: reason }, element("code", {}, code), ` ${reason}`)
    : null;
  const again = repeat ? element("span", { class: "tag", title: REPEAT }, "repeat") : null;
  return element(
    "tr",
    { role: "row", "data-delivery": number, "data-outcome": outcome, "data-type": type },
    cell("time", time),
    cell("type", link, why),
    cell("outcome", badge(outcome, status)),
    cell("user", user ?? none()),
    cell("revenue", again, revenue ?? (repeat ? null : none())),
    cell("event", element("span", { class: "project" }, `${project} `), event ?? none()),
    cell("milliseconds", duration(milliseconds)),
  );
}

function none() {
  return element("span", { class: "none", "aria-label": "none" }, "–");
}

function suggest(type) {
  if (!type || suggested.has(type)) return;
  suggested.add(type);
  byId("types").append(element("option", { value: type }));
}

/** A click anywhere in the row opens it, unless it selects text. */
function open(event) {
  const number = event.target.closest("tr")?.dataset.delivery;
  if (!number || event.target.closest("a") || getSelection().toString()) return;
  location.hash = `#deliveries/${number}`;
}

function move(event) {
  const row = event.target.closest("tr");
  const target = {
    ArrowUp: row?.previousElementSibling,
    ArrowDown: row?.nextElementSibling,
    Home: body().firstElementChild,
    End: body().lastElementChild,
  }[event.key];
  if (!target || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  target.querySelector("a").focus();
}

function pause() {
  paused = !paused;
  draw();
}

function showPause() {
  const held = paused ? waiting.length : 0;
  byId("pause").setAttribute("aria-pressed", String(paused));
  const label = held ? `Resume (${held >= ROWS ? `${ROWS} or more` : held} new)` : paused ? "Resume" : "Pause";
  if (byId("pause").textContent !== label) byId("pause").textContent = label;
}

function announceNew() {
  if (unannounced > 0 && visible && !document.hidden)
    announce(count(unannounced, "new delivery").replace(/ys$/, "ies"));
  unannounced = 0;
}
