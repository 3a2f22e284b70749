// A JSON text as lines, with the notes at the fields that they concern.

/** A number as it was written: `1.10` stays, and no digit of a long one is lost. */
class Numeral {
  constructor(text) {
    this.text = text;
  }
}

/**
 * The lines of a JSON text, or `null` where it is none. A line has a `depth`, a `key` (or `null`), a `text` with its `sort`
 * (`string`, `number`, `word`, `bracket` or `absent`), a `path`, its `notes`, and says whether it is `removed`, alone or
 * with what it stands in, and whether it is a removed null, of which there are many: `nothing`.
 */
export function linesOf(text, notes) {
  const lines = [];
  try {
    const value = JSON.parse(text, exact);
    walk({ value, key: null, path: [], depth: 0, removed: false }, place(value, notes), lines);
  } catch {
    // No JSON, or nested so deep that nobody could read it.
    return null;
  }
  return lines;
}

function exact(_, value, context) {
  return typeof value === "number" ? new Numeral(context?.source ?? String(value)) : value;
}

/** The notes by the path of a field that is there. What is not there is told where it would stand. */
function place(root, notes) {
  const places = new Map();
  for (const note of notes) {
    const path = [];
    let value = root;
    for (const name of note.path) {
      if (!isBranch(value) || !Object.hasOwn(value, name)) break;
      value = value[name];
      path.push(name);
    }
    const absent = note.path.slice(path.length).join(".");
    const at = JSON.stringify(path.map(String));
    if (!places.has(at)) places.set(at, { notes: [], absent: new Map() });
    if (!absent) places.get(at).notes.push(note);
    else if (!places.get(at).absent.has(absent)) places.get(at).absent.set(absent, [note]);
    else places.get(at).absent.get(absent).push(note);
  }
  return places;
}

function walk({ value, key, path, depth, removed }, places, lines) {
  const { notes, absent } = places.get(JSON.stringify(path)) ?? { notes: [], absent: new Map() };
  const gone = removed || notes.some(({ kind }) => kind === "removed");
  const nothing = value === null && notes.length > 0 && notes.every(({ kind }) => kind === "removed");
  const line = { depth, key, path, notes, removed: gone, nothing };
  const missing = [...absent].map(([name, notes]) => ({
    depth: depth + 1,
    key: name,
    // It gave the user ID all the same: on another object.
    text: notes.some(({ kind }) => kind === "user_id") ? "found by reference" : "not there",
    sort: "absent",
    path: [...path, ...name.split(".")],
    notes,
    removed: false,
    nothing: false,
  }));
  if (!isBranch(value)) {
    lines.push({ ...line, ...leaf(value) }, ...missing);
    return;
  }
  const [opening, closing] = Array.isArray(value) ? ["[", "]"] : ["{", "}"];
  const children = Object.entries(value);
  if (children.length + missing.length === 0) {
    lines.push({ ...line, text: opening + closing, sort: "bracket" });
    return;
  }
  lines.push({ ...line, text: opening, sort: "bracket" });
  for (const [name, child] of children) {
    // Elements of a list stand for themselves; their indexes would only be in the way.
    const key = Array.isArray(value) ? null : name;
    walk({ value: child, key, path: [...path, name], depth: depth + 1, removed: gone }, places, lines);
  }
  lines.push(...missing);
  lines.push({ depth, key: null, text: closing, sort: "bracket", path, notes: [], removed: gone, nothing: false });
}

function isBranch(value) {
  return typeof value === "object" && value !== null && !(value instanceof Numeral);
}

function leaf(value) {
  if (value instanceof Numeral) return { text: value.text, sort: "number" };
  if (typeof value === "string") return { text: JSON.stringify(value), sort: "string" };
  return { text: String(value), sort: "word" };
}
