// The address after its #: a view, a delivery's number, and choices, as in `#deliveries?user=user_0001`.

const VIEWS = ["deliveries", "send", "charts", "help"];

/** Unknown addresses show the list of deliveries. */
export function read(hash) {
  const [path, query] = hash.replace(/^#/, "").split("?", 2);
  const [view, number] = path.split("/", 2);
  const choices = Object.fromEntries(new URLSearchParams(query ?? ""));
  if (view === "deliveries" && /^\d+$/.test(number ?? "")) return { view: "delivery", number: Number(number), choices };
  return { view: VIEWS.includes(view) ? view : "deliveries", number: null, choices };
}

/** The address of a view, without the choices that are empty. */
export function write(view, choices = {}) {
  const query = new URLSearchParams(Object.entries(choices).filter(([, value]) => value));
  return `#${view}${query.size ? `?${query}` : ""}`;
}
