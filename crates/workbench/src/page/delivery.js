// One delivery: its request trail side by side, with the explanation as notes at the fields.

import { get, post } from "./api.js";
import { neighbours } from "./deliveries.js";
import { button, byId, element, marked, tell } from "./dom.js";
import { jsonView } from "./json_view.js";
import { badge, OUTCOMES, REPEAT, status, whatStripeDoes } from "./outcome.js";
import { reads } from "./reads.js";
import { edit } from "./send.js";
import { timeline } from "./timeline.js";
import { count, duration, fullMoment } from "./words.js";

let shown = null;

export function start() {}

export async function show(_, number) {
  shown = number;
  byId("delivery-heading").textContent = `Delivery ${number}`;
  byId("view-delivery").setAttribute("aria-busy", "true");
  linkNeighbours(number);
  try {
    const delivery = await get(`deliveries/${number}`);
    if (shown !== number) return;
    tell(byId("delivery-problem"), null);
    byId("delivery-heading").textContent = delivery.summary.type ?? `Delivery ${number}`;
    byId("delivery").replaceChildren(...parts(delivery));
    byId("delivery").dataset.delivery = number;
  } catch (error) {
    if (shown !== number) return;
    tell(byId("delivery-problem"), error.message);
    byId("delivery").replaceChildren();
  }
  byId("view-delivery").removeAttribute("aria-busy");
}

export function hide() {
  shown = null;
}

function linkNeighbours(number) {
  const { newer, older } = neighbours(number);
  for (const [id, neighbour] of [
    ["newer-delivery", newer],
    ["older-delivery", older],
  ]) {
    byId(id).hidden = !neighbour;
    byId(id).href = `#deliveries/${neighbour ?? ""}`;
  }
}

function parts({ summary, stripe, answer, references, amplitude, explanation }) {
  const notes = (hop) => (explanation?.notes ?? []).filter((note) => note.hop === hop);
  const content = [
    facts(summary),
    actions(summary, stripe),
    element("h2", {}, "Time of each step"),
    timeline(summary.milliseconds, references.reads, amplitude),
    ...reads(references),
    element("h2", {}, "Request trail"),
    element(
      "div",
      { class: "hops" },
      fromStripe(stripe, answer, notes("stripe")),
      toAmplitude(amplitude, notes("amplitude"), summary),
      fromAmplitude(amplitude, summary),
    ),
  ];
  if (explanation) {
    const heading = summary.outcome === "failed" ? "What happens to the event once nothing fails" : "Full explanation";
    content.push(element("h2", { id: "explanation-heading" }, heading));
    content.push(
      element(
        "pre",
        {
          class: "explanation",
          id: "explanation",
          tabindex: "0",
          role: "group",
          "aria-labelledby": "explanation-heading",
        },
        explanation.text,
      ),
    );
  }
  return content;
}

function facts(summary) {
  const { number, received, project, event, outcome, status, code, reason, user, revenue, repeat, milliseconds } =
    summary;
  const list = element("dl", { class: "facts-of-one" });
  const fact = (name, ...value) =>
    list.append(element("div", {}, element("dt", {}, name), element("dd", {}, ...value)));
  fact("Outcome", badge(outcome, status));
  if (code) fact("Code", element("code", { id: "code" }, code));
  fact("Event", event ?? "none");
  fact("User", user ? element("a", { href: `#deliveries?user=${encodeURIComponent(user)}` }, user) : "none");
  fact("Revenue", revenue ?? "none");
  fact("Project", project);
  fact("Received", element("time", { datetime: new Date(received).toISOString() }, fullMoment(received)));
  fact("Took", duration(milliseconds));
  fact("Delivery", `${number}`);
  const remarks = [element("p", { class: "hint" }, OUTCOMES[outcome]?.meaning ?? "")];
  if (reason) remarks.push(element("p", { class: "notice", id: "reason" }, ...marked(reason)));
  if (repeat) remarks.push(element("p", { class: "notice repeat", id: "repeat" }, REPEAT));
  return element("div", {}, list, ...remarks);
}

function actions({ number, outcome }, stripe) {
  const problem = element("p", { class: "notice", role: "alert", hidden: true });
  const again = button("Send again", { class: "primary", id: "send-again" }, async () => {
    again.disabled = true;
    try {
      const { number: next } = await post(`deliveries/${number}/again`);
      location.hash = `#deliveries/${next}`;
    } catch (error) {
      tell(problem, error.message);
      again.disabled = false;
    }
  });
  const change = button("Edit and send", { id: "edit" }, () => {
    edit(stripe.body);
    location.hash = "#send";
  });
  // A refused request may be a stranger's. Sending it again would give it a valid signature.
  again.hidden = outcome === "refused";
  return element("div", { class: "actions" }, again, change, problem);
}

function fromStripe({ headers, path, body }, answer, notes) {
  const names = element("dl", { class: "headers" });
  for (const [name, value] of headers) names.append(element("dt", {}, name), element("dd", {}, value));
  return hop("stripe", "1", "Request from Stripe", [
    element("p", { class: "request" }, `POST ${path}`),
    element("details", {}, element("summary", {}, count(headers.length, "header")), names),
    jsonView(body, notes, "The event that Stripe sent"),
    element("h4", {}, "Response to Stripe: ", status(answer.status)),
    element("p", { class: "hint" }, whatStripeDoes(answer.status)),
    jsonView(answer.body, [], "The response to Stripe"),
  ]);
}

function toAmplitude(attempts, notes, { reason }) {
  const content = [];
  attempts.forEach(({ url, request }, index) => {
    const same = index > 0 && request === attempts[index - 1].request && url === attempts[index - 1].url;
    if (attempts.length > 1) content.push(element("h4", {}, `Attempt ${index + 1}`));
    if (same) content.push(element("p", { class: "hint" }, "Same request as before."));
    else
      content.push(
        element("p", { class: "request" }, `POST ${url}`),
        jsonView(request, notes, "The request to Amplitude"),
      );
  });
  if (content.length === 0)
    content.push(element("p", { class: "nothing-sent" }, reason ? `Nothing sent: ${reason}` : "Nothing sent."));
  return hop("amplitude", "2", "Request to Amplitude", content);
}

function fromAmplitude(attempts, { repeat }) {
  const content = attempts.map(({ status: code, answer, problem, milliseconds }, index) => {
    const which = attempts.length > 1 ? `Attempt ${index + 1}: ` : "";
    const heading = element(
      "h4",
      {},
      which,
      code === null ? "no response" : status(code),
      ` in ${duration(milliseconds)}`,
    );
    return element(
      "div",
      { class: "attempt", "data-attempt": index + 1 },
      heading,
      problem ? element("p", { class: "notice" }, problem) : null,
      answer === null ? null : jsonView(answer, [], "Amplitude's response"),
    );
  });
  if (repeat) content.push(element("p", { class: "hint" }, REPEAT));
  if (content.length === 0) content.push(element("p", { class: "nothing-sent" }, "Not called."));
  return hop("answer", "3", "Response from Amplitude", content);
}

function hop(name, order, title, content) {
  const id = `hop-${name}`;
  const heading = element("h3", { id }, element("span", { class: "order", "aria-hidden": "true" }, order), ` ${title}`);
  return element("section", { class: "hop", "data-hop": name, "aria-labelledby": id }, heading, ...content);
}
