-- Revenue by product: the sum of the revenue of the purchases in :currency, for each product in them. A purchase of several
-- products counts with its full revenue under each, so the products add up to more than the total. Refunds are events of
-- other types and are not subtracted.
--
-- Amplitude's "Property Sum", grouped by the array `product_names`, ordered by the sum; Amplitude keeps the first 100
-- groups.
-- Source: amplitude.com/docs/analytics/charts/event-segmentation/event-segmentation-choose-measurement and
-- amplitude.com/docs/analytics/charts/group-by

SELECT product, SUM(revenue)
FROM ordered_product
WHERE currency = :currency AND revenue IS NOT NULL
GROUP BY product
ORDER BY SUM(revenue) DESC, product
LIMIT 100
