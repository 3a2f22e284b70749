// A chart's card. It is created once and then refilled, so that open details stay open.

import { copyButton, element, marked } from "./dom.js";
import { currencyOf, figure as money } from "./money.js";
import { legend, MOST_SERIES, plot } from "./plot.js";
import { seriesOf } from "./series.js";
import { number } from "./words.js";

const MOST_LABELS = 53;
const MOST_BARS = 12;

/** A card. `fill` takes a chart from the server, the selected currency and all currencies. */
export function card(name, extra) {
  const id = `chart-${name}`;
  const title = element("h2", { id: `${id}-title` });
  const summary = element("p", { class: "summary", id: `${id}-summary` });
  const figure = element("div", { class: "figure" });
  const steps = element("ol", { class: "steps" });
  const copy = copyButton("Copy", () => [...steps.children].map((step) => step.textContent).join("\n"));
  const how = element(
    "details",
    { class: "how" },
    element("summary", {}, "How to build this in Amplitude"),
    steps,
    copy,
  );
  const figures = element("div", {
    class: "table-box",
    role: "group",
    tabindex: "0",
    "aria-labelledby": `${id}-title`,
  });
  const table = element("details", { class: "figures" }, element("summary", {}, "Data table"), figures);
  const section = element(
    "section",
    { class: "card", id, "data-chart": name, "aria-labelledby": `${id}-title` },
    title,
    summary,
    extra ?? null,
    figure,
    how,
    table,
  );
  const state = { drawing: null, touched: new Map(), last: null };

  function fill(chart, currency, currencies) {
    // Redrawn only if it changed.
    const content = JSON.stringify([chart, currency, currencies]);
    if (state.last === content) return;
    state.last = content;
    title.textContent = chart.title;
    summary.textContent = chart.summary;
    steps.replaceChildren(...chart.in_amplitude.map(step));
    state.drawing?.destroy();
    state.drawing = null;
    const empty = chart.rows.length === 0;
    section.dataset.empty = String(empty);
    table.hidden = empty || chart.kind === "users";
    const rows = empty ? null : tableOf(chart);
    if (empty)
      figure.replaceChildren(
        element(
          "div",
          { class: "empty" },
          element("p", {}, ...marked(chart.empty ?? "Nothing to chart yet.")),
        ),
      );
    else if (chart.kind === "users")
      figure.replaceChildren(
        element("div", { class: "table-box", role: "group", tabindex: "0", "aria-labelledby": `${id}-title` }, rows),
      );
    else draw(chart, currency, currencies);
    figures.replaceChildren(...(empty || chart.kind === "users" ? [] : [rows]));
  }

  function draw(chart, currency, currencies) {
    const mostSeries = isByCurrency(chart) ? Infinity : MOST_SERIES;
    const drawn = seriesOf(chart, mostSeries, chart.kind === "bars" ? MOST_BARS : MOST_LABELS);
    // A currency keeps its line, whichever is selected.
    if (isByCurrency(chart)) drawn.series.sort((a, b) => currencies.indexOf(a.name) - currencies.indexOf(b.name));
    const hidden = hiddenOf(chart, drawn, currency, state.touched);
    const canvas = element("canvas", { role: "img", "aria-label": `${chart.title}. ${chart.summary}` });
    const box = element("div", { class: "canvas" }, canvas);
    const parts = [box];
    if (drawn.series.length > 1) {
      parts.push(
        legend(drawn, hidden, (name) => {
          state.touched.set(name, hidden.has(name));
          if (hidden.has(name)) hidden.delete(name);
          else hidden.add(name);
          state.drawing.data.datasets.forEach((dataset, place) =>
            state.drawing.setDatasetVisibility(place, !hidden.has(dataset.label)),
          );
          state.drawing.update();
        }),
      );
    }
    if (drawn.left > 0) parts.push(element("p", { class: "hint" }, `${number(drawn.left)} more in the data table below.`));
    figure.replaceChildren(...parts);
    state.drawing = plot(canvas, chart, drawn, hidden);
  }

  /** Draws again, in other colours. */
  function redraw(chart, currency, currencies) {
    state.last = null;
    fill(chart, currency, currencies);
  }

  return { section, fill, redraw };
}

/**
 * Amounts in different currencies cannot share an axis: 9000 yen would flatten 90 dollars. So only the selected currency is
 * drawn, until the user shows another.
 */
function hiddenOf(chart, { series }, currency, touched) {
  const byCurrency = isByCurrency(chart) && series.some(({ name }) => name === currency);
  const shown = (name) => touched.get(name) ?? (!byCurrency || name === currency);
  return new Set(series.map(({ name }) => name).filter((name) => !shown(name)));
}

function isByCurrency({ columns }) {
  return columns[1] === "Currency";
}

function step(text) {
  const [label, ...rest] = text.split(": ");
  if (rest.length === 0) return element("li", {}, ...marked(text));
  return element("li", {}, `${label}: `, element("code", {}, rest.join(": ")));
}

function tableOf(chart) {
  const { title, kind, columns, rows } = chart;
  // All numbers of a column have the same decimals; amounts have those of their currency.
  const decimals = columns.map((_, place) => Math.max(...rows.map((row) => decimalsOf(row[place]))));
  const head = element("tr", {}, ...columns.map((column) => element("th", { scope: "col" }, column)));
  const figureIn = (row, place) => {
    const currency = place === row.length - 1 ? currencyOf(chart, row[1]) : null;
    return (value) => (currency ? money(value, currency) : number(value, decimals[place]));
  };
  const body = rows.map((row) =>
    element("tr", {}, ...row.map((value, place) => cell(value, place, kind, figureIn(row, place)))),
  );
  return element(
    "table",
    { class: "values" },
    element("caption", { class: "hidden" }, title),
    element("thead", {}, head),
    element("tbody", {}, ...body),
  );
}

function cell(value, place, kind, figure) {
  const attributes = { class: typeof value === "number" ? "number" : null, "data-value": String(value) };
  const text = value === null ? "–" : typeof value === "number" ? figure(value) : String(value);
  if (place > 0) return element("td", attributes, text);
  // An anonymous user has only a device ID, which the list cannot filter by.
  const known = kind === "users" && !text.startsWith("stripe-");
  const content = known ? element("a", { href: `#deliveries?user=${encodeURIComponent(value)}` }, text) : text;
  return element("th", { scope: "row", ...attributes }, content);
}

function decimalsOf(value) {
  return typeof value === "number" ? Math.min((String(value).split(".")[1] ?? "").length, 3) : 0;
}
