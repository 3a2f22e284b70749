// Amounts as people read them: with the decimals of their currency.

import { number } from "./words.js";

// Stripe's decimals, which differ from ISO 4217 in places: docs.stripe.com/currencies.
const NO_DECIMALS = "bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf".split(" ");
const THREE_DECIMALS = "bhd jod kwd omr tnd".split(" ");

/** Formats an amount in minor units exactly: 1999 and `usd` give `19.99 USD`. */
export function inMajorUnits(amount, currency) {
  const decimals = decimalsOf(currency);
  const digits = String(Math.abs(amount)).padStart(decimals + 1, "0");
  const whole = digits.slice(0, digits.length - decimals);
  const rest = decimals ? `.${digits.slice(digits.length - decimals)}` : "";
  return `${amount < 0 ? "-" : ""}${whole}${rest} ${currency.toUpperCase()}`;
}

/** Formats major units without the currency: 20 and `USD` give `20.00`. */
export function figure(majorUnits, currency) {
  return number(majorUnits, decimalsOf(currency));
}

/** The currency of a row, or of the series with this name; `null` if its figures are not amounts. */
export function currencyOf({ columns, unit }, name) {
  if (columns[1] === "Currency") return name;
  return unit && unit !== "%" ? unit : null;
}

function decimalsOf(currency) {
  const code = currency.toLowerCase();
  if (NO_DECIMALS.includes(code)) return 0;
  return THREE_DECIMALS.includes(code) ? 3 : 2;
}
