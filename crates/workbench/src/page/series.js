// The rows of a chart as labels along one axis and a series of values for each line.

const DAY_MILLISECONDS = 24 * 60 * 60 * 1000;
const WEEK_MILLISECONDS = 7 * DAY_MILLISECONDS;
const MOST_WEEKS = 520;
const DATE = /^\d{4}-\d{2}-\d{2}$/;

/**
 * Rows are [x, y] or [x, series, y]. A missing row is `null`: a gap, not a zero. `left` is the number of series and labels that
 * are not drawn; the largest series are drawn.
 */
export function seriesOf({ columns, rows }, mostSeries, mostLabels) {
  const several = columns.length > 2;
  const names = several ? unique(rows.map((row) => row[1])) : [columns[1]];
  const sum = (name) => rows.reduce((sum, row) => (row[1] === name ? sum + Math.abs(row[2]) : sum), 0);
  const drawn = names.length > mostSeries ? names.toSorted((a, b) => sum(b) - sum(a)).slice(0, mostSeries) : names;
  const all = labelsOf(rows.map((row) => row[0]));
  // Of too many weeks, the oldest are not drawn; of a ranking, the last.
  const labels = all.length <= mostLabels ? all : all.every(isDate) ? all.slice(-mostLabels) : all.slice(0, mostLabels);
  const values = new Map(
    rows.map((row) => (several ? [key(row[0], row[1]), row[2]] : [key(row[0], columns[1]), row[1]])),
  );
  const series = drawn.map((name) => ({
    name: String(name),
    values: labels.map((label) => values.get(key(label, name)) ?? null),
  }));
  return { labels, series, left: names.length - drawn.length + (all.length - labels.length) };
}

/** Dates and numbers in ascending order, including weeks without a row; other labels in the order of the rows. */
function labelsOf(labels) {
  const once = unique(labels);
  if (once.length > 0 && once.every(isDate)) return weeks(once.toSorted());
  if (once.every((label) => typeof label === "number")) return once.toSorted((a, b) => a - b);
  return once;
}

function weeks(dates) {
  const [first, last] = [Date.parse(dates[0]), Date.parse(dates.at(-1))];
  const regular = dates.every((date) => (Date.parse(date) - first) % WEEK_MILLISECONDS === 0);
  const number = (last - first) / WEEK_MILLISECONDS + 1;
  if (!regular || number > MOST_WEEKS) return dates;
  return Array.from({ length: number }, (_, week) =>
    new Date(first + week * WEEK_MILLISECONDS).toISOString().slice(0, 10),
  );
}

function isDate(label) {
  return typeof label === "string" && DATE.test(label);
}

function key(label, name) {
  return JSON.stringify([label, name]);
}

function unique(values) {
  return [...new Set(values)];
}
