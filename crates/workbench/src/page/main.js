// The views, and which one the address shows.

import { read } from "./address.js";
import { about } from "./about.js";
import * as charts from "./charts.js";
import * as deliveries from "./deliveries.js";
import * as delivery from "./delivery.js";
import { byId } from "./dom.js";
import * as help from "./help.js";
import { connect } from "./live.js";
import * as send from "./send.js";

const VIEWS = { deliveries, delivery, send, charts, help };
let shown = null;
let lastNumber = null;

function route() {
  const { view, number, choices } = read(location.hash);
  if (shown && shown !== view) VIEWS[shown].hide?.();
  for (const name of Object.keys(VIEWS)) byId(`view-${name}`).hidden = name !== view;
  for (const link of document.querySelectorAll("nav [data-view]")) {
    const current = link.dataset.view === view || (link.dataset.view === "deliveries" && view === "delivery");
    if (current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const heading = byId(`${view}-heading`);
  document.title = `${view === "delivery" ? `Delivery ${number}` : heading.textContent} · stripe-amplitude`;
  const arrived = shown !== null && (shown !== view || view === "delivery");
  const left = shown === "delivery" ? lastNumber : null;
  [shown, lastNumber] = [view, number];
  VIEWS[view].show(choices, number);
  // The first view needs no change of focus.
  if (arrived) land(heading, left && VIEWS[view].returnTo?.(left));
}

/** A link leads to the top of the view; going back leads to where the user left. */
function land(heading, place) {
  if (place) {
    place.focus();
    return;
  }
  heading.focus({ preventScroll: true });
  scrollTo(0, 0);
}

byId("skip").addEventListener("click", (event) => {
  // Its address would select a view.
  event.preventDefault();
  byId("main").focus();
});

// Each view that needs it shows the error.
about().catch(() => {});
for (const view of Object.values(VIEWS)) view.start();
addEventListener("hashchange", route);
route();
connect();
