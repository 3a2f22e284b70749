-- Average number of purchases per user: the purchases of each week, divided by the users who purchased in that week.
--
-- Amplitude's "Average" is the event totals of a data point divided by its unique users, so users without a
-- purchase do not count.
-- Source: amplitude.com/docs/analytics/charts/event-segmentation/event-segmentation-choose-measurement

WITH average AS (
  SELECT week, 1.0 * COUNT(*) / COUNT(DISTINCT user) AS purchases
  FROM purchase
  GROUP BY week
)
SELECT purchase_week.week, COALESCE(ROUND(average.purchases, 2), 0.0)
FROM purchase_week
LEFT JOIN average ON average.week = purchase_week.week
ORDER BY purchase_week.week
