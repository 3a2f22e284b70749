-- What the charts are computed from: the events that the local Amplitude accepted.
--
-- All days and weeks are those of UTC, the time zone that a project of Amplitude has unless its settings say otherwise.
-- A week begins on Monday; a project's setting "Weeks Start On" says so in Amplitude.
-- Source: amplitude.com/docs/admin/account-management/manage-orgs-projects

CREATE TABLE event (
  event_type TEXT NOT NULL,
  -- The user ID; of an anonymous user, who counts as a user of their own, the device ID.
  user TEXT NOT NULL,
  -- Unix milliseconds.
  time INTEGER NOT NULL,
  -- Money is an integer in thousandths of the currency's major unit. None of Stripe's currencies has more than three
  -- decimals, so that every amount is exact, and so is every sum; sums of floats are not.
  revenue INTEGER,
  -- `normalized_currency` in Amplitude.
  currency TEXT,
  -- A JSON array of strings, if the event has it. No chart reads any other property; with all of them, loading takes
  -- five times as long.
  product_names TEXT,

  -- Days since 1970.
  day INTEGER AS (time / (24 * 60 * 60 * 1000)),
  -- Its Monday, as 2026-09-07: forward to Sunday, which may be the same day, and back.
  week TEXT AS (date(time / 1000, 'unixepoch', 'weekday 0', '-6 days')) STORED
) STRICT;

-- A purchase is a payment that succeeded. Of the several events of one purchase, this one carries revenue.
CREATE VIEW purchase AS
SELECT user, time, day, week, revenue, COALESCE(currency, '(none)') AS currency
FROM event
WHERE event_type = '[Stripe] payment_intent.succeeded';

-- Every week from the first purchase to the last, so that a line falls to 0 in a week without purchases, as Amplitude's
-- do, and does not pass over it. No more than ten years: one event of a wrong year shall not fill the page.
CREATE VIEW purchase_week AS
WITH RECURSIVE back (week) AS (
  SELECT MAX(week) FROM purchase HAVING MAX(week) IS NOT NULL
  UNION ALL
  SELECT date(week, '-7 days') FROM back WHERE week > (SELECT MIN(week) FROM purchase)
  LIMIT 520
)
SELECT week FROM back;

-- The products of each purchase: with the setting `products`: "follow", those of its invoice or checkout session, else the
-- description of the payment. Grouped by an array of strings, Amplitude counts an event under each of its values, and under
-- each once; under (none) where there are none.
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
