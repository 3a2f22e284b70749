"""Calls the emulator with Stripe's official library, for api.rs, and prints the results as JSON.

official_client.py URL SECRET_KEY RESTRICTED_KEY CONNECTED_ACCOUNT

The restricted key may read events.
"""

import json
import sys

import stripe

url, secret_key, restricted_key, connected_account = sys.argv[1:]


def client(key):
    return stripe.StripeClient(key, base_addresses={"api": url}, max_network_retries=2).v1


def refused(kind, call):
    try:
        call()
    except stripe.StripeError as error:
        assert type(error) is kind, repr(error)
        assert error.request_id.startswith("req_"), error.request_id
        return error
    raise AssertionError(f"not refused: {kind}")


v1 = client(secret_key)
error = refused(stripe.RateLimitError, v1.accounts.retrieve_current)
assert error.http_status == 429 and error.json_body["error"]["code"] == "rate_limit", error.json_body
account = v1.accounts.retrieve_current()

events = v1.events.list({"limit": 100})
assert events.data[0].data.object, events.data[0]
failed = v1.events.list({"types": ["charge.failed"], "limit": 3, "created": {"gt": 0}})
connected = v1.events.list(options={"stripe_account": connected_account})
newest = events.data[0]
assert v1.events.retrieve(newest.id).to_dict() == newest.to_dict()

endpoints = v1.webhook_endpoints
created = endpoints.create(
    {
        "url": "https://a.example/stripe/shop",
        "enabled_events": ["charge.failed", "invoice.paid"],
        "api_version": "2024-06-20",
        "description": "Our shop",
        "metadata": {"made_by": "us"},
    }
)
assert created.secret.startswith("whsec_") and created.metadata.to_dict() == {"made_by": "us"}, created
updated = endpoints.update(
    created.id, {"url": "https://b.example", "enabled_events": ["*"], "disabled": True, "metadata": {"made_by": ""}}
)
assert (updated.url, updated.enabled_events, updated.status) == ("https://b.example", ["*"], "disabled"), updated
assert updated.metadata.to_dict() == {} and updated.api_version == "2024-06-20", updated
assert [endpoint.id for endpoint in endpoints.list().auto_paging_iter()] == [created.id]
assert endpoints.retrieve(created.id).status == "disabled"
deleted = endpoints.delete(created.id)
assert deleted.deleted and deleted.id == created.id, deleted

error = refused(stripe.InvalidRequestError, lambda: endpoints.retrieve(created.id))
assert (error.http_status, error.code, error.param) == (404, "resource_missing", "id"), error.json_body
error = refused(stripe.InvalidRequestError, lambda: v1.events.list({"types": ["charge.failed"] * 21}))
assert error.http_status == 400, error.json_body
refused(stripe.AuthenticationError, lambda: client("sk_test_other").events.list())
restricted = client(restricted_key)
assert restricted.events.list().data
error = refused(stripe.PermissionError, lambda: restricted.webhook_endpoints.list())
assert "rak_webhook_read" in error.user_message, error.user_message

customer = v1.customers.retrieve("cus_1")
assert (customer.email, customer.metadata["user_id"]) == ("a@shop.example", "user_1"), customer
deleted = v1.customers.retrieve("cus_2")
assert deleted.to_dict() == {"id": "cus_2", "object": "customer", "deleted": True}, deleted
error = refused(stripe.InvalidRequestError, lambda: v1.customers.retrieve("cus_3"))
assert (error.http_status, error.code) == (404, "resource_missing"), error.json_body
payment = v1.payment_intents.retrieve("pi_1", {"expand": ["customer"]}, {"stripe_version": "2024-06-20"})
assert (payment.invoice, payment.customer.email) == ("in_1", "a@shop.example"), payment
# In the library's own version, which is a newer one.
payment = v1.payment_intents.retrieve("pi_1")
assert "invoice" not in payment and payment.customer == "cus_1", payment
payments = [payment.id for payment in v1.payment_intents.list({"limit": 1}).auto_paging_iter()]
assert payments == ["pi_2", "pi_1"], payments
sessions = v1.checkout.sessions
assert [session.id for session in sessions.list({"payment_intent": "pi_2"}).data] == ["cs_1"]
items = [item.id for item in sessions.line_items.list("cs_1", {"limit": 100}).auto_paging_iter()]
assert items == [f"li_{number}" for number in range(12)], items
lines = v1.invoices.line_items.list("in_1", {"limit": 10, "expand": ["data.pricing.price_details.price"]})
assert lines.data[0].pricing.price_details.price.unit_amount == 2500, lines.data[0]
assert len(list(lines.auto_paging_iter())) == 25
error = refused(stripe.InvalidRequestError, lambda: v1.payment_intents.retrieve("pi_1", {"expand": ["buyer"]}))
assert error.user_message == "This property cannot be expanded (buyer).", error.user_message
error = refused(stripe.PermissionError, lambda: restricted.customers.retrieve("cus_1"))
assert "rak_customer_read" in error.user_message, error.user_message

json.dump(
    {
        "account": account.id,
        "events": [event.id for event in events.auto_paging_iter()],
        "failed": [event.id for event in failed.auto_paging_iter()],
        "connected": [event.id for event in connected.data],
    },
    sys.stdout,
)
