-- N-week retention: of the users whose week n after their first purchase is over, the percentage who purchased in it.
-- The third column is how many users these are.
--
-- Amplitude's "Return On": who returned in exactly the nth week, divided by all who started and have reached the end of
-- that week; incomplete data are left out. With the default of rolling windows, weekly retention is computed by days,
-- and week n of a user is the seven days from the (7 n)th after the day of the starting event on. In week 0, the first
-- purchase itself is a return.
-- Source: amplitude.com/docs/analytics/charts/retention-analysis/retention-analysis-calculation and
-- amplitude.com/docs/analytics/charts/retention-analysis/retention-analysis-time
--
-- Users count once, from their first purchase on: the starting event has the filter Historical Count = 1st.
-- Source: amplitude.com/docs/analytics/historical-count-1

WITH RECURSIVE
  buyer AS (
    SELECT user, MIN(day) AS first_day, (:today - MIN(day)) / 7 AS weeks_over
    FROM purchase
    GROUP BY user
  ),
  -- No more than a year of weeks, so that old events do not draw the line out to nothing.
  nth_week (n) AS (
    SELECT 0
    UNION ALL
    SELECT n + 1 FROM nth_week WHERE n + 1 < (SELECT MAX(weeks_over) FROM buyer)
    LIMIT 52
  ),
  returned AS (
    SELECT DISTINCT purchase.user, (purchase.day - buyer.first_day) / 7 AS n
    FROM purchase
    JOIN buyer ON buyer.user = purchase.user
  )
SELECT nth_week.n, ROUND(100.0 * COUNT(returned.user) / COUNT(*), 1), COUNT(*)
FROM nth_week
JOIN buyer ON buyer.weeks_over > nth_week.n
LEFT JOIN returned ON returned.user = buyer.user AND returned.n = nth_week.n
GROUP BY nth_week.n
ORDER BY nth_week.n
