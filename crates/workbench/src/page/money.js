// Money, as people read it: with the decimals of its currency.

import { number } from "./words.js";

// Stripe's decimals, which are not always ISO 4217's: docs.stripe.com/currencies.
const NO_DECIMALS = "bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf".split(" ");
const THREE_DECIMALS = "bhd jod kwd omr tnd".split(" ");

/** An amount in minor units, digit by digit: 1999 and `usd` are `19.99 USD`. */
export function inMajorUnits(amount, currency) {
  const decimals = decimalsOf(currency);
  const digits = String(Math.abs(amount)).padStart(decimals + 1, "0");
  const whole = digits.slice(0, digits.length - decimals);
  const rest = decimals ? `.${digits.slice(digits.length - decimals)}` : "";
  return `${amount < 0 ? "-" : ""}${whole}${rest} ${currency.toUpperCase()}`;
}

/** A number of major units, without the currency: 20 and `USD` are `20.00`. */
export function figure(majorUnits, currency) {
  return number(majorUnits, decimalsOf(currency));
}

/** The currency of the figures of a row, or of a series with this name; `null` where they are no money. */
export function currencyOf({ columns, unit }, name) {
  if (columns[1] === "Currency") return name;
  return unit && unit !== "%" ? unit : null;
}

function decimalsOf(currency) {
  const code = currency.toLowerCase();
  if (NO_DECIMALS.includes(code)) return 0;
  return THREE_DECIMALS.includes(code) ? 3 : 2;
}
