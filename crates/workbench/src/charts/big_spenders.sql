-- Cohort of big spenders: users whose `$revenue` in :currency adds up to more than :threshold, in the seven days from
-- their first event of any type (:cohort is first_seven_days), or in the 30 days before :now (last_30_days).
-- Refunds are events of other types and are not subtracted.
--
-- Amplitude's "Total sum of property", either "Within" 7 days of first use, or "During" the last 30 days. An event
-- exactly seven days after the first is on day 7, outside the first seven days, which are days 0 to 6.
-- Amplitude moves the last 30 days once a day; here they end now.
-- Source: amplitude.com/docs/analytics/define-cohort

WITH newcomer AS (
  SELECT user, MIN(time) AS first_time
  FROM event
  GROUP BY user
)
SELECT purchase.user, SUM(purchase.revenue)
FROM purchase
JOIN newcomer ON newcomer.user = purchase.user
WHERE
  purchase.currency = :currency
  AND CASE :cohort
    WHEN 'first_seven_days' THEN purchase.time < newcomer.first_time + 7 * 24 * 60 * 60 * 1000
    WHEN 'last_30_days' THEN purchase.time BETWEEN :now - 30 * 24 * 60 * 60 * 1000 AND :now
  END
GROUP BY purchase.user
HAVING SUM(purchase.revenue) > :threshold
ORDER BY SUM(purchase.revenue) DESC, purchase.user
