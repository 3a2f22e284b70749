// A readable view of a JSON text: its fields, with the notes beside them.

import { button, copyButton, element, marked } from "./dom.js";
import { linesOf } from "./json_lines.js";
import { count } from "./words.js";

const MOST_LINES = 4000;

const KINDS = {
  user_id: "User ID",
  passed_over: "Skipped",
  device_id: "Device ID",
  revenue: "Revenue",
  removed: "Removed",
  cut: "Cut",
};

/** A view of a text that is usually JSON. `label` names it for screen readers. */
export function jsonView(text, notes, label) {
  const lines = linesOf(text, notes);
  if (!lines) return plain(text, label);
  const view = element("div", { class: "json" });
  const box = element("div", { class: "lines", role: "group", "aria-label": label, tabindex: "0" });
  box.append(...lines.slice(0, MOST_LINES).map(draw));
  if (lines.length > MOST_LINES)
    box.append(element("p", { class: "hint" }, `The first ${MOST_LINES} of ${lines.length} lines. Copy copies all.`));
  view.append(tools(text, lines, view, box), box);
  return view;
}

function plain(text, label) {
  const box = element("pre", { class: "lines", role: "group", "aria-label": label, tabindex: "0" }, text || "(empty)");
  return element(
    "div",
    { class: "json" },
    element(
      "div",
      { class: "tools" },
      copyButton("Copy", () => text),
    ),
    box,
  );
}

function tools(text, lines, view, box) {
  const bar = element("div", { class: "tools" });
  const noted = lines.filter((line) => line.notes.length > 0 && !line.nothing).length;
  if (noted > 0) {
    let next = 0;
    bar.append(
      button(`Next note of ${noted}`, { class: "quiet" }, () => {
        const places = box.querySelectorAll(".line.noted:not(.nothing)");
        const place = places[next % places.length];
        next += 1;
        place.focus({ preventScroll: true });
        // Scrolls the box; the page only if necessary.
        place.scrollIntoView({ block: "nearest" });
      }),
    );
  }
  const nulls = lines.filter((line) => line.nothing).length;
  if (nulls > 0) {
    const words = (shown) => `${shown ? "Hide" : "Show"} ${count(nulls, "removed null")}`;
    const toggle = button(words(false), { class: "quiet", "aria-pressed": "false" }, () => {
      const shown = view.classList.toggle("with-nulls");
      toggle.setAttribute("aria-pressed", String(shown));
      toggle.textContent = words(shown);
    });
    bar.append(toggle);
  }
  bar.append(copyButton("Copy", () => text));
  return bar;
}

function draw(line) {
  const classes = ["line"];
  if (line.notes.length > 0) classes.push("noted");
  if (line.nothing) classes.push("nothing");
  const key =
    line.key === null
      ? null
      : element("span", { class: "key" }, line.sort === "absent" ? line.key : JSON.stringify(line.key));
  const value = element("span", { class: line.sort }, line.text);
  // `del` tells screen readers; fields inside a removed object have the object's note.
  const field = element(
    line.removed ? "del" : "span",
    {},
    key,
    key ? element("span", { class: "colon" }, ": ") : null,
    value,
  );
  const code = element("span", { class: "code" }, field);
  const attributes = { class: classes.join(" "), "data-path": line.path.join(".") };
  if (line.notes.length > 0) {
    attributes.tabindex = "-1";
    attributes["data-note"] = line.notes.map(({ kind }) => kind).join(" ");
  }
  const node = element("div", attributes, code, ...line.notes.map(note));
  node.style.setProperty("--depth", Math.min(line.depth, 12));
  return node;
}

function note({ kind, text }) {
  return element(
    "span",
    { class: "note", "data-kind": kind },
    element("b", {}, KINDS[kind] ?? kind),
    " ",
    ...marked(text),
  );
}
