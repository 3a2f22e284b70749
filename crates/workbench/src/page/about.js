// What `serve` serves: the projects, and where their events go.

import { get } from "./api.js";
import { byId, element } from "./dom.js";

let requested = null;

/** Fetched once. */
export function about() {
  requested ??= get("about")
    .then((about) => {
      describe(about);
      return about;
    })
    .catch((error) => {
      requested = null;
      throw error;
    });
  return requested;
}

/** Where events go, in words. */
export function destination(amplitude) {
  if (amplitude === "emulator") return "a local Amplitude";
  return amplitude === "real" ? "Amplitude itself" : amplitude;
}

/** A field for a project: a list if the projects are known, or text if they are in Parameter Store. */
export function projectField(about, id) {
  if (about.projects.length === 0)
    return element("input", { id, placeholder: "shop", autocomplete: "off", spellcheck: "false", required: true });
  return element("select", { id }, ...about.projects.map((project) => element("option", {}, project)));
}

function describe({ projects, amplitude, stripe, kept_in, version }) {
  byId("version").textContent = version;
  byId("amplitude").textContent = `→ ${destination(amplitude)}`;
  byId("amplitude").dataset.amplitude = amplitude === "emulator" ? "emulator" : "other";
  byId("kept").textContent = kept_in
    ? `Kept in ${kept_in}.`
    : "Lost when serve ends; --data FILE keeps them.";
  for (const place of document.querySelectorAll("[data-fill=listen]")) {
    place.textContent = `stripe listen --forward-to ${location.origin}/stripe/${projects[0] ?? "shop"}`;
  }
  for (const place of document.querySelectorAll("[data-fill=amplitude]")) {
    place.textContent = `events go to ${destination(amplitude)}`;
  }
  byId("amplitude").title = `References are read from ${stripe === "local" ? "a local Stripe" : stripe}.`;
}
