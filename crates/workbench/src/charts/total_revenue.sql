-- Total revenue: the sum of `$revenue` of the purchases of each week, for each currency. Different currencies are never
-- added. Refunds are events of other types and are not subtracted.
--
-- Amplitude's "Property Sum" is the sum of the property's values at each data point; "grouped by" draws a line for each
-- value of `normalized_currency`.
-- Source: amplitude.com/docs/analytics/charts/event-segmentation/event-segmentation-choose-measurement

WITH
  total AS (
    SELECT week, currency, SUM(revenue) AS revenue
    FROM purchase
    WHERE revenue IS NOT NULL
    GROUP BY week, currency
  ),
  line AS (
    SELECT DISTINCT currency FROM total
  )
SELECT purchase_week.week, line.currency, COALESCE(total.revenue, 0)
FROM purchase_week
CROSS JOIN line
LEFT JOIN total ON total.week = purchase_week.week AND total.currency = line.currency
ORDER BY purchase_week.week, line.currency
