// The help is text in index.html.

import { byId, element } from "./dom.js";
import { OUTCOMES } from "./outcome.js";

export function start() {
  for (const [outcome, { sign, meaning }] of Object.entries(OUTCOMES)) {
    const name = element(
      "dt",
      {},
      element(
        "span",
        { class: "badge", "data-outcome": outcome },
        element("span", { "aria-hidden": "true" }, sign),
        ` ${outcome}`,
      ),
    );
    byId("outcomes").append(name, element("dd", {}, meaning));
  }
  for (const picture of byId("view-help").querySelectorAll("img")) {
    // A build may lack the pictures.
    picture.addEventListener("error", () => {
      picture.parentElement.hidden = true;
    });
  }
}

export function show() {}
