-- Revenue by product: the sum of `normalized_amount_paid` of the paid invoices in :currency, for each product on them.
-- An invoice for several products counts with its whole amount under each. Refunds change no invoice, and are not
-- subtracted.
--
-- Amplitude's "Property Sum", grouped by the array `product_names`, ordered by the sum, of which Amplitude keeps the
-- first 100.
-- Source: amplitude.com/docs/analytics/charts/event-segmentation/event-segmentation-choose-measurement and
-- amplitude.com/docs/analytics/charts/group-by

SELECT product, SUM(amount_paid)
FROM ordered_product
WHERE currency = :currency AND amount_paid IS NOT NULL
GROUP BY product
ORDER BY SUM(amount_paid) DESC, product
LIMIT 100
