// Draws a chart with Chart.js. Lines differ by colour, dashes and the shape of their points. Bars differ by colour alone
// only if their order also distinguishes them.

import { element } from "./dom.js";
import { currencyOf, figure } from "./money.js";
import { number } from "./words.js";

export const MOST_SERIES = 6;

const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3], [14, 4], [4, 2, 1, 2]];
const SHAPES = ["circle", "rect", "triangle", "rectRot", "crossRot", "star"];
const SVG = "http://www.w3.org/2000/svg";
/** Each shape around the origin, for the legend. */
const OUTLINES = {
  circle: "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0",
  rect: "M-3.5-3.5h7v7h-7z",
  triangle: "M0-4.5L4.5 3.5H-4.5z",
  rectRot: "M0-5L5 0L0 5L-5 0z",
  crossRot: "M-4-4L4 4M-4 4L4-4",
  star: "M-4-4L4 4M-4 4L4-4M0-5V5M-5 0H5",
};

/** A chart on a canvas. The axes have the names of the columns. */
export function plot(canvas, chart, { labels, series }, hidden) {
  const { kind, columns, unit } = chart;
  // Long names fit better at the side.
  const sideways = kind === "bars" && labels.some((label) => typeof label === "string" && !/^\d/.test(label));
  const [xName, yName] = [columns[0], columns.at(-1)];
  const whole = series.every(({ values }) => values.every((value) => value === null || Number.isInteger(value)));
  const tick = (value) => `${number(value)}${unit === "%" ? "%" : ""}`;
  const label = (value, name) => {
    const currency = currencyOf(chart, name);
    return currency ? figure(value, currency) : tick(value);
  };
  const values = {
    beginAtZero: true,
    title: { display: true, text: unit && unit !== "%" ? `${yName} (${unit})` : yName },
    ticks: { callback: tick, maxTicksLimit: 6, precision: whole ? 0 : undefined },
    grid: { color: colour("--grid") },
  };
  const names = {
    title: { display: !sideways, text: xName },
    grid: { display: false },
    ticks: {
      autoSkip: !sideways,
      maxRotation: 0,
      callback(value) {
        return short(this.getLabelForValue(value));
      },
    },
  };
  window.Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
  return new window.Chart(canvas, {
    type: kind === "lines" ? "line" : "bar",
    data: {
      labels,
      datasets: series.map(({ name, values }, place) => dataset(kind, name, values, place, hidden.has(name))),
    },
    options: {
      indexAxis: sideways ? "y" : "x",
      // Without animation: new figures arrive every few seconds.
      animation: false,
      maintainAspectRatio: false,
      color: colour("--text"),
      interaction: { mode: kind === "lines" ? "index" : "nearest", intersect: false, axis: sideways ? "y" : "x" },
      plugins: {
        legend: { display: false },
        tooltip: {
          callbacks: {
            label: ({ dataset, parsed }) => ` ${dataset.label}: ${label(sideways ? parsed.x : parsed.y, dataset.label)}`,
          },
        },
      },
      scales: sideways ? { x: paint(values), y: paint(names) } : { x: paint(names), y: paint(values) },
    },
  });
}

/** Buttons that show and hide a series each. The plot's own legend would take neither Tab nor Enter. */
export function legend({ series }, hidden, toggle) {
  const list = element("ul", { class: "legend", "aria-label": "Series" });
  series.forEach(({ name }, place) => {
    const one = element(
      "button",
      { type: "button", "data-series": name, "aria-pressed": String(!hidden.has(name)) },
      sample(place),
      ` ${name}`,
    );
    one.addEventListener("click", () => {
      one.setAttribute("aria-pressed", String(hidden.has(name)));
      toggle(name);
    });
    list.append(element("li", {}, one));
  });
  return list;
}

function dataset(kind, label, data, place, hidden) {
  const own = colour(`--series-${(place % MOST_SERIES) + 1}`);
  if (kind !== "lines")
    return { label, data, hidden, backgroundColor: own, borderColor: own, borderRadius: 3, maxBarThickness: 36 };
  return {
    label,
    data,
    hidden,
    borderColor: own,
    backgroundColor: own,
    borderWidth: 2,
    borderDash: DASHES[place % DASHES.length],
    pointStyle: SHAPES[place % SHAPES.length],
    pointRadius: 4,
    pointHoverRadius: 6,
  };
}

function paint(axis) {
  const text = colour("--muted");
  return {
    ...axis,
    title: { ...axis.title, color: text },
    ticks: { ...axis.ticks, color: text },
    border: { color: colour("--line") },
  };
}

function short(label) {
  const text = String(label);
  // A week is labelled by its first day; the table has the year.
  if (/^\d{4}-\d{2}-\d{2}$/.test(text))
    return new Date(text).toLocaleDateString("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
  return text.length > 24 ? `${text.slice(0, 23)}…` : text;
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function sample(place) {
  const picture = document.createElementNS(SVG, "svg");
  picture.setAttribute("viewBox", "-18 -6 36 12");
  picture.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("d", "M-17 0H17");
  line.setAttribute("stroke-dasharray", DASHES[place % DASHES.length].join(" "));
  const point = document.createElementNS(SVG, "path");
  point.setAttribute("d", OUTLINES[SHAPES[place % SHAPES.length]]);
  point.setAttribute("class", "point");
  picture.append(line, point);
  picture.style.color = `var(--series-${(place % MOST_SERIES) + 1})`;
  return picture;
}
