-- N-week retention: the percentage of users who purchased in week n after their first purchase, of those whose week n has
-- ended. The third column is the number of the latter.
--
-- Amplitude's "Return On": the users who returned in exactly the nth week, divided by all who started and have reached the end of
-- that week; incomplete data are excluded. With the default of rolling windows, weekly retention is computed by days:
-- week n of a user is the seven days starting 7 n days after the day of the starting event. In week 0, the first
-- purchase itself counts as a return.
-- Source: amplitude.com/docs/analytics/charts/retention-analysis/retention-analysis-calculation and
-- amplitude.com/docs/analytics/charts/retention-analysis/retention-analysis-time
--
-- Each user counts once, from the first purchase: the starting event has the filter Historical Count = 1st.
-- Source: amplitude.com/docs/analytics/historical-count-1

WITH RECURSIVE
  buyer AS (
    SELECT user, MIN(day) AS first_day, (:today - MIN(day)) / 7 AS weeks_over
    FROM purchase
    GROUP BY user
  ),
  -- At most a year of weeks, so that old events do not stretch the line.
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
