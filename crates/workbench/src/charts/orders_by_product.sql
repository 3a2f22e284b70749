-- Number of orders by product: how many purchases, in any currency, the product is in.
--
-- Amplitude's "Event Totals", grouped by the array `product_names`. Its guide has "Uniques" here, which counts users:
-- one who orders a product every month would be one order. Of the groups, Amplitude keeps the first 100.
-- Source: amplitude.com/docs/analytics/charts/event-segmentation/event-segmentation-choose-measurement and
-- amplitude.com/docs/analytics/charts/group-by

SELECT product, COUNT(*)
FROM ordered_product
GROUP BY product
ORDER BY COUNT(*) DESC, product
LIMIT 100
