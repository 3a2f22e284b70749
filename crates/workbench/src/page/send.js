// Sending an event: a sample or a pasted one, edited, valid or with a mistake.

import { about, destination, projectField } from "./about.js";
import { announce } from "./announcer.js";
import { get, post } from "./api.js";
import { button, byId, element, tell } from "./dom.js";
import * as fields from "./event_fields.js";
import { jsonView } from "./json_view.js";
import { inMajorUnits } from "./money.js";
import { whatStripeDoes } from "./outcome.js";
import { duration } from "./words.js";

const FIRST_SAMPLE = "payment_intent.succeeded";

const MISTAKES = [
  ["wrong_secret", "Wrong secret", "Signed with another endpoint's secret: 400, the signature does not match."],
  ["old_timestamp", "Old timestamp", "Signed too long ago, like a replayed request: 400."],
  ["changed_body", "Changed body", "The body was changed after it was signed: 400."],
  ["thin_event", "Thin event", "The payload style “thin”, which has no object: 400, with the remedy."],
];

const FAULTS = [
  ["429", "429", "Amplitude throttles: 502 without a retry here; Stripe retries."],
  ["500", "500", "Amplitude fails: up to three attempts, then 502."],
  ["hang", "Hang", "Amplitude never responds: each attempt times out after 2 s, and Stripe gets a response within 4.5 s."],
];

let samples = [];
let pasted = null; // A text from another view, until this view shows it.
let prepared = null;
let sending = false;

export function start() {
  const editor = byId("send-event");
  byId("send-form").addEventListener("submit", (event) => {
    event.preventDefault();
    send(null, null);
  });
  byId("send-sample").addEventListener("change", choose);
  editor.addEventListener("input", () => {
    byId("send-sample").value = "";
    readFields();
  });
  editor.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    send(null, null);
  });
  change("send-amount", "change", (event, input) =>
    input.value !== "" && Number.isSafeInteger(input.valueAsNumber)
      ? fields.withAmount(event, input.valueAsNumber)
      : event,
  );
  change("send-currency", "change", (event, input) =>
    /^[a-z]{3}$/i.test(input.value) ? fields.withCurrency(event, input.value) : event,
  );
  change("send-user", "input", (event, input) => fields.withUser(event, input.value));
  change("send-live", "change", (event, input) => fields.withLive(event, input.checked));
  byId("mistakes").append(
    ...MISTAKES.map(([name, label, what]) => way(label, what, { "data-mistake": name }, () => send(name, null))),
  );
  byId("faults").append(
    ...FAULTS.map(([name, label, what]) => way(label, what, { "data-fault": name }, () => send(null, name))),
  );
}

export async function show() {
  try {
    prepared ??= prepare();
    await prepared;
    tell(byId("send-problem"), null);
  } catch (error) {
    prepared = null;
    tell(byId("send-problem"), error.message);
    return;
  }
  if (pasted === null) return;
  write(pasted);
  byId("send-sample").value = "";
  pasted = null;
}

/** Puts an event into the editor. */
export function edit(text) {
  pasted = text;
}

async function prepare() {
  const [described, list] = await Promise.all([about(), get("samples")]);
  samples = list;
  byId("send-project-field").append(
    element("label", { for: "send-project" }, "Project"),
    projectField(described, "send-project"),
  );
  byId("send-sample").append(
    element("option", { value: "" }, "(your own)"),
    ...samples.map(({ type }) => element("option", {}, type)),
  );
  const emulated = described.amplitude === "emulator";
  byId("faults-field").disabled = !emulated;
  tell(
    byId("faults-hint"),
    emulated ? null : "Only a local Amplitude can fail on demand: start serve without --amplitude.",
  );
  tell(
    byId("send-real"),
    emulated ? null : `Events go to ${destination(described.amplitude)}, which keeps what it accepts.`,
  );
  const first = samples.find(({ type }) => type === FIRST_SAMPLE) ?? samples[0];
  if (!first || pasted !== null) return;
  byId("send-sample").value = first.type;
  choose();
}

function choose() {
  const sample = samples.find(({ type }) => type === byId("send-sample").value);
  if (sample) write(JSON.stringify(sample.event, null, 2));
}

/** The event in the editor; `null` if the text is not an event. */
function read() {
  try {
    const event = JSON.parse(byId("send-event").value);
    return fields.isEvent(event) ? event : null;
  } catch {
    return null;
  }
}

function write(text) {
  const editor = byId("send-event");
  const { scrollTop } = editor;
  editor.value = text;
  editor.scrollTop = scrollTop;
  readFields();
}

function change(id, name, changed) {
  byId(id).addEventListener(name, () => {
    const event = read();
    if (event) write(JSON.stringify(changed(event, byId(id)), null, 2));
  });
}

/** Fills the fields from the editor. */
function readFields() {
  const event = read();
  const { amount, currency, user, live } = event
    ? fields.fieldsOf(event)
    : { amount: null, currency: null, user: null, live: false };
  fill("send-amount", amount);
  fill("send-currency", currency);
  fill("send-user", user);
  byId("send-live").checked = live;
  byId("send-live").disabled = !event;
  byId("send-fresh").disabled = !event;
  byId("send-now").disabled = !event;
  byId("send-amount-hint").textContent = amountHint(event, amount, currency);
  byId("send-event-hint").textContent = event
    ? `${event.type ?? "no type"}, ${event.id ?? "no ID"}`
    : "Not a Stripe event. It is signed and sent unchanged.";
}

function amountHint(event, amount, currency) {
  if (amount !== null && currency !== null) return `${amount} = ${inMajorUnits(amount, currency)}`;
  return event && amount === null ? "This object has no amount." : "";
}

function fill(id, value) {
  const input = byId(id);
  input.disabled = value === null;
  // Not while the user types in it: that would overwrite "2000." or a cleared field.
  if (document.activeElement !== input || value === null) input.value = value ?? "";
}

function way(label, what, attributes, run) {
  const id = `way-${Object.values(attributes)[0]}`;
  return element(
    "li",
    {},
    button(label, { ...attributes, "aria-describedby": id }, run),
    element("span", { class: "hint", id }, what),
  );
}

async function send(mistake, fault) {
  if (sending) return;
  const project = byId("send-project")?.value.trim();
  if (!project) {
    tell(byId("send-problem"), "Enter a project first: the last part of the webhook's path.");
    byId("send-project")?.focus();
    return;
  }
  freshen();
  busy(true);
  try {
    const answer = await post("send", { project, event: byId("send-event").value, mistake, fault });
    tell(byId("send-problem"), null);
    showAnswer(answer);
  } catch (error) {
    tell(byId("send-problem"), error.message);
  }
  busy(false);
}

/** Also updates the editor, so that it shows what is sent. */
function freshen() {
  let event = read();
  if (!event) return;
  if (byId("send-fresh").checked) event = fields.withId(event, fields.freshId());
  if (byId("send-now").checked) event = fields.withCreated(event, Math.floor(Date.now() / 1000));
  if (byId("send-fresh").checked || byId("send-now").checked) write(JSON.stringify(event, null, 2));
}

function busy(is) {
  sending = is;
  byId("send-answer").setAttribute("aria-busy", String(is));
  byId("send-button").textContent = is ? "Sending…" : "Send";
}

function showAnswer({ number, status, body, milliseconds }) {
  const good = status >= 200 && status < 300;
  const line = element(
    "p",
    { class: "answer-line" },
    element("strong", { class: "code-of-status", "data-good": String(good), id: "answer-status" }, `${status}`),
    ` in ${duration(milliseconds)} · `,
    element(
      "a",
      { href: `#deliveries/${number}`, id: "answer-delivery", "data-delivery": number },
      `See delivery ${number}`,
    ),
  );
  const what = element("p", { id: "answer-meaning" }, whatStripeDoes(status));
  byId("send-answer-body").replaceChildren(line, what, jsonView(body, [], "The body of the response"));
  byId("send-answer").dataset.status = status;
  byId("send-answer").dataset.number = number;
  byId("send-answer").scrollIntoView({ block: "nearest" });
  announce(`Response ${status} in ${duration(milliseconds)}. ${whatStripeDoes(status)}`);
}
