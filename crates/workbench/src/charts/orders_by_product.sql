-- Number of orders by product: the purchases, in any currency, that contain the product.
--
-- Amplitude's "Event Totals", grouped by the array `product_names`. Its guide has "Uniques" here, which counts users:
-- a user who orders a product every month would count once. Amplitude keeps the first 100 groups.
-- Source: amplitude.com/docs/analytics/charts/event-segmentation/event-segmentation-choose-measurement and
-- amplitude.com/docs/analytics/charts/group-by

SELECT product, COUNT(*)
FROM ordered_product
GROUP BY product
ORDER BY COUNT(*) DESC, product
LIMIT 100
