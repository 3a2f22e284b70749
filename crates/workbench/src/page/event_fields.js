// The fields of a Stripe event that Send edits. Each function returns a changed copy.

/** What an object says that it is about, the first that is there. */
const MAIN_AMOUNTS = ["amount", "amount_total", "total", "amount_due"];
const AMOUNT = /^(?:amount|amount_.+|.+_amount|total|total_.+|subtotal|subtotal_.+|unit_amount_.+)$/;
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/** The current values; `null` for a field that the object does not have. */
export function fieldsOf(event) {
  const object = event.data.object;
  const main = mainAmount(object);
  return {
    amount: main === undefined ? null : object[main],
    currency: typeof object.currency === "string" ? object.currency : null,
    user: object.metadata?.user_id ?? "",
    live: event.livemode === true,
  };
}

/** Whether it has what Send changes. Anything else is sent as it is. */
export function isEvent(value) {
  const object = value?.data?.object;
  return typeof object === "object" && object !== null && !Array.isArray(object);
}

/** Sets all amounts that equal the main one, such as an invoice's total, its paid amount and its lines. */
export function withAmount(event, amount) {
  return changed(event, (object) => {
    const main = mainAmount(object);
    if (main === undefined) return;
    const old = object[main];
    object[main] = amount;
    // Amounts that do not apply are 0 as well; they must not change.
    if (old === 0) return;
    everyField(object, (holder, name) => {
      if (!AMOUNT.test(name)) return;
      if (holder[name] === old) holder[name] = amount;
      // `unit_amount_decimal` and similar fields are strings.
      else if (holder[name] === String(old)) holder[name] = String(amount);
    });
  });
}

/** Sets the currency of the object, and of all in it that has the same. */
export function withCurrency(event, currency) {
  return changed(event, (object) => {
    const old = object.currency;
    if (typeof old !== "string") return;
    everyField(object, (holder, name) => {
      if (/(?:^|_)currency$/.test(name) && holder[name] === old) holder[name] = currency.toLowerCase();
    });
  });
}

/** Sets `metadata.user_id`, or removes it if it is empty. */
export function withUser(event, user) {
  return changed(event, (object) => {
    if (typeof object.metadata !== "object" || object.metadata === null) object.metadata = {};
    if (user === "") delete object.metadata.user_id;
    else object.metadata.user_id = user;
  });
}

export function withLive(event, live) {
  const copy = changed(event, (object) => {
    if ("livemode" in object) object.livemode = live;
  });
  copy.livemode = live;
  return copy;
}

export function withId(event, id) {
  return { ...event, id };
}

/** When it happened, in Unix seconds. */
export function withCreated(event, created) {
  return { ...event, created };
}

export function freshId() {
  const numbers = crypto.getRandomValues(new Uint8Array(24));
  return `evt_1${[...numbers].map((number) => LETTERS[number % LETTERS.length]).join("")}`;
}

function mainAmount(object) {
  return MAIN_AMOUNTS.find((name) => Number.isSafeInteger(object[name]));
}

function changed(event, change) {
  const copy = structuredClone(event);
  change(copy.data.object);
  return copy;
}

function everyField(value, visit) {
  if (typeof value !== "object" || value === null) return;
  for (const name of Object.keys(value)) {
    visit(value, name);
    everyField(value[name], visit);
  }
}
