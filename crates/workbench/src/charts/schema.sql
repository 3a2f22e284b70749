-- The events that the local Amplitude accepted, from which the charts are computed.
--
-- All days and weeks are in UTC, the default time zone of a project in Amplitude. Weeks begin on Monday, like with the
-- project setting "Weeks Start On" in Amplitude.
-- Source: amplitude.com/docs/admin/account-management/manage-orgs-projects

CREATE TABLE event (
  event_type TEXT NOT NULL,
  -- The user ID, or for an anonymous user, who counts as a separate user, the device ID.
  user TEXT NOT NULL,
  -- Unix milliseconds.
  time INTEGER NOT NULL,
  -- Money is an integer in thousandths of the currency's major unit. Stripe's currencies have at most three
  -- decimals, so amounts and sums are exact; sums of floats would not be.
  revenue INTEGER,
  -- `normalized_currency` in Amplitude.
  currency TEXT,
  -- A JSON array of strings, if the event has it. The charts read no other property; loading all would take
  -- five times as long.
  product_names TEXT,

  -- Days since 1970.
  day INTEGER AS (time / (24 * 60 * 60 * 1000)),
  -- Its Monday, as 2026-09-07: forward to Sunday, which may be the same day, and back.
  week TEXT AS (date(time / 1000, 'unixepoch', 'weekday 0', '-6 days')) STORED
) STRICT;

-- A purchase is a successful payment, the only event of a purchase with revenue.
CREATE VIEW purchase AS
SELECT user, time, day, week, revenue, COALESCE(currency, '(none)') AS currency
FROM event
WHERE event_type = '[Stripe] payment_intent.succeeded';

-- Every week from the first purchase to the last, so that a line falls to 0 in a week without purchases, like in
-- Amplitude. At most ten years, so that an event with a wrong year does not fill the page.
CREATE VIEW purchase_week AS
WITH RECURSIVE back (week) AS (
  SELECT MAX(week) FROM purchase HAVING MAX(week) IS NOT NULL
  UNION ALL
  SELECT date(week, '-7 days') FROM back WHERE week > (SELECT MIN(week) FROM purchase)
  LIMIT 520
)
SELECT week FROM back;

-- The products of each purchase: with the setting `products`: "follow", those of its invoice or checkout session, otherwise
-- the payment's description. Grouped by an array of strings, Amplitude counts an event once under each value, or under
-- (none) without values.
CREATE VIEW ordered_product AS
SELECT DISTINCT
  event.rowid AS purchase,
  event.user,
  event.revenue,
  COALESCE(event.currency, '(none)') AS currency,
  COALESCE(product.value, '(none)') AS product
FROM event
LEFT JOIN json_each(event.product_names) AS product
WHERE event_type = '[Stripe] payment_intent.succeeded';
