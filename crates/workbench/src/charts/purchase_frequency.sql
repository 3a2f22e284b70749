-- Distribution of purchase frequency: how many users purchased once, twice, and so on, over all time.
-- The last bucket, :most, has all users with that many purchases or more.
--
-- Amplitude's "Frequency" groups users into buckets by how often they triggered the event in the period.
-- Source: amplitude.com/docs/analytics/charts/event-segmentation/event-segmentation-choose-measurement

WITH RECURSIVE
  buyer AS (
    SELECT user, MIN(COUNT(*), :most) AS purchases
    FROM purchase
    GROUP BY user
  ),
  -- Includes empty buckets in between.
  bucket (purchases) AS (
    SELECT 1 WHERE EXISTS (SELECT * FROM buyer)
    UNION ALL
    SELECT purchases + 1 FROM bucket WHERE purchases < (SELECT MAX(purchases) FROM buyer)
  )
SELECT bucket.purchases, COUNT(buyer.user)
FROM bucket
LEFT JOIN buyer ON buyer.purchases = bucket.purchases
GROUP BY bucket.purchases
ORDER BY bucket.purchases
