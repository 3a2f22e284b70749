// The seven charts, computed by the server.

import { about, destination, projectField } from "./about.js";
import { write } from "./address.js";
import { announce } from "./announcer.js";
import { get } from "./api.js";
import { card } from "./card.js";
import { byId, element, tell } from "./dom.js";
import { listen } from "./live.js";
import { count, moment } from "./words.js";

/** Computing takes the server a moment; deliveries may come by the hundred. */
const PAUSE_MILLISECONDS = 4000;
const COHORTS = [
  ["first_seven_days", "in their first seven days"],
  ["last_30_days", "in the last 30 days"],
];

const cards = new Map();
let choices = { project: "", currency: "", cohort: "" };
let visible = false;
let prepared = null;
let charted = false; // Whether there is a local Amplitude to chart.
let asking = 0;
let due = null;
let report = null;

export function start() {
  const bar = byId("charts-bar");
  bar.addEventListener("submit", (event) => {
    event.preventDefault();
    compute(true);
  });
  bar.addEventListener("change", choose);
  listen("delivery", ({ outcome }) => {
    if (outcome === "forwarded") later();
  });
  listen("reload", later);
  document.addEventListener("visibilitychange", () => {
    if (due === "hidden") later();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
}

export async function show(chosen) {
  visible = true;
  choices = { project: chosen.project ?? "", currency: chosen.currency ?? "", cohort: chosen.cohort ?? "" };
  try {
    prepared ??= prepare();
    await prepared;
  } catch (error) {
    prepared = null;
    tell(byId("charts-problem"), error.message);
    return;
  }
  if (!charted) return;
  if (choices.project) byId("charts-project").value = choices.project;
  compute(false);
}

export function hide() {
  visible = false;
}

async function prepare() {
  const described = await about();
  byId("charts-project-field").append(
    element("label", { for: "charts-project" }, "Project ", projectField(described, "charts-project")),
  );
  charted = described.amplitude === "emulator";
  byId("charts-bar").hidden = !charted;
  const where = destination(described.amplitude);
  tell(
    byId("charts-real"),
    charted
      ? null
      : `Events go to ${where}, and the charts are of a local Amplitude only: look into Amplitude for yours, or start serve without --amplitude.`,
  );
}

function choose(event) {
  if (event.target.name === "cohort") choices.cohort = event.target.value;
  else choices = { ...choices, project: byId("charts-project").value, currency: byId("charts-currency").value };
  history.replaceState(null, "", write("charts", choices));
  compute(true);
}

/** Once for all that comes in a few seconds, and not while nobody looks. */
function later() {
  if (!visible || !charted || typeof due === "number") return;
  if (document.hidden) {
    due = "hidden";
    return;
  }
  due = setTimeout(() => {
    due = null;
    if (visible) compute(false);
  }, PAUSE_MILLISECONDS);
}

async function compute(asked) {
  const project = byId("charts-project").value.trim();
  if (!project) {
    tell(byId("charts-problem"), "Name a project: the last part of the webhook's path.");
    return;
  }
  asking += 1;
  const mine = asking;
  byId("view-charts").setAttribute("aria-busy", "true");
  try {
    const computed = await get("charts", { ...choices, project, cohort: choices.cohort || COHORTS[0][0] });
    if (mine !== asking) return;
    report = computed;
    tell(byId("charts-problem"), null);
    showReport();
    const words = `Computed at ${moment(Date.now())} from ${count(report.events, "event")}.`;
    byId("charts-computed").textContent = words;
    if (asked) announce(words);
  } catch (error) {
    if (mine !== asking) return;
    tell(byId("charts-problem"), error.message);
  }
  byId("view-charts").removeAttribute("aria-busy");
}

function showReport() {
  showCurrencies();
  for (const chart of report.charts) {
    if (!cards.has(chart.name)) {
      const made = card(chart.name, chart.kind === "users" ? cohortSwitch() : null);
      cards.set(chart.name, made);
      byId("charts").append(made.made);
    }
    cards.get(chart.name).fill(chart, report.currency, report.currencies);
  }
  for (const input of document.querySelectorAll("#cohort input"))
    input.checked = input.value === (choices.cohort || COHORTS[0][0]);
  byId("charts").dataset.events = report.events;
}

function redraw() {
  if (!report) return;
  for (const chart of report.charts) cards.get(chart.name)?.redraw(chart, report.currency, report.currencies);
}

function showCurrencies() {
  const select = byId("charts-currency");
  const options = report.currencies.length > 0 ? report.currencies : [report.currency].filter((currency) => currency);
  // A select that is open would close, if it were filled again for nothing.
  if ([...select.options].map(({ value }) => value).join() !== options.join()) {
    select.replaceChildren(...options.map((currency) => element("option", {}, currency)));
  }
  select.value = report.currency ?? "";
  select.disabled = options.length === 0;
}

function cohortSwitch() {
  const group = element(
    "fieldset",
    { class: "switch", id: "cohort" },
    element("legend", { class: "hidden" }, "When they spent it"),
  );
  for (const [value, words] of COHORTS) {
    const input = element("input", { type: "radio", name: "cohort", value });
    group.append(element("label", {}, input, ` ${words}`));
  }
  group.addEventListener("change", choose);
  return group;
}
