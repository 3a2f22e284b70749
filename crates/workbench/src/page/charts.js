// The seven charts, computed by the server.

import { about, destination, projectField } from "./about.js";
import { write } from "./address.js";
import { announce } from "./announcer.js";
import { get } from "./api.js";
import { card } from "./card.js";
import { byId, element, tell } from "./dom.js";
import { listen } from "./live.js";
import { count, moment } from "./words.js";

/** Computing takes a moment, and hundreds of deliveries may arrive at once. */
const PAUSE_MILLISECONDS = 4000;
const COHORTS = [
  ["first_seven_days", "in their first seven days"],
  ["last_30_days", "in the last 30 days"],
];

const cards = new Map();
let choices = { project: "", currency: "", cohort: "" };
let visible = false;
let prepared = null;
let charted = false; // Whether a local Amplitude exists.
let lastRequest = 0;
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
      : `Events go to ${where}. This page charts only a local Amplitude: see your charts in Amplitude, or start serve without --amplitude.`,
  );
}

function choose(event) {
  if (event.target.name === "cohort") choices.cohort = event.target.value;
  else choices = { ...choices, project: byId("charts-project").value, currency: byId("charts-currency").value };
  history.replaceState(null, "", write("charts", choices));
  compute(true);
}

/** Once for all deliveries within a few seconds, and only while the page is visible. */
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

async function compute(requested) {
  const project = byId("charts-project").value.trim();
  if (!project) {
    tell(byId("charts-problem"), "Enter a project: the last part of the webhook's path.");
    return;
  }
  lastRequest += 1;
  const request = lastRequest;
  byId("view-charts").setAttribute("aria-busy", "true");
  try {
    const computed = await get("charts", { ...choices, project, cohort: choices.cohort || COHORTS[0][0] });
    if (request !== lastRequest) return;
    report = computed;
    tell(byId("charts-problem"), null);
    showReport();
    const words = `Computed at ${moment(Date.now())} from ${count(report.events, "event")}.`;
    byId("charts-computed").textContent = words;
    if (requested) announce(words);
  } catch (error) {
    if (request !== lastRequest) return;
    tell(byId("charts-problem"), error.message);
  }
  byId("view-charts").removeAttribute("aria-busy");
}

function showReport() {
  showCurrencies();
  for (const chart of report.charts) {
    if (!cards.has(chart.name)) {
      const entry = card(chart.name, chart.kind === "users" ? cohortSwitch() : null);
      cards.set(chart.name, entry);
      byId("charts").append(entry.section);
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
  // Filling it again would close it if it is open.
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
