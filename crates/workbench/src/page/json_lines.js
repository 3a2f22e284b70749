// A JSON text as lines, with the notes at their fields.

/** A number as written: `1.10` stays `1.10`, and a long number keeps all digits. */
class Numeral {
  constructor(text) {
    this.text = text;
  }
}

/**
 * The lines of a JSON text; `null` if the text is not JSON. A line has a `depth`, a `key` (or `null`), a `text` with its `sort`
 * (`string`, `number`, `word`, `bracket` or `absent`), a `path` and its `notes`. `removed` is true if the field or one that
 * contains it was removed; `nothing` is true for a removed null, of which there are many.
 */
export function linesOf(text, notes) {
  const lines = [];
  try {
    const value = JSON.parse(text, exact);
    walk({ value, key: null, path: [], depth: 0, removed: false }, place(value, notes), lines);
  } catch {
    // Not JSON, or nested too deeply to read.
    return null;
  }
  return lines;
}

function exact(_, value, context) {
  return typeof value === "number" ? new Numeral(context?.source ?? String(value)) : value;
}

/** The notes by the path of an existing field. A note on a missing field is shown where the field would be. */
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
    // It gave the user ID anyway, on another object.
    text: notes.some(({ kind }) => kind === "user_id") ? "found by reference" : "missing",
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
    // The elements of a list are shown without their indexes.
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
