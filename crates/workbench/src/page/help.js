// Help is text, and stands in index.html.

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
    // A build without the pictures is no worse for it.
    picture.addEventListener("error", () => {
      picture.parentElement.hidden = true;
    });
  }
}

export function show() {}
