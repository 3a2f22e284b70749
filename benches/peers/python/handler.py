"""What a user would write in Python: the function's duties in an afternoon, with the official packages."""

import base64
import json
import os
import time

import boto3
import requests
import stripe

TYPES = {
    "application_fee.created", "application_fee.refund.updated", "application_fee.refunded", "balance.available",
    "charge.captured", "charge.failed", "charge.refunded", "charge.succeeded", "charge.updated",
    "checkout.session.async_payment_failed", "checkout.session.async_payment_succeeded", "checkout.session.completed",
    "invoice.created", "invoice.finalized", "invoice.marked_uncollectible", "invoice.paid", "invoice.payment_failed",
    "invoice.payment_succeeded", "invoice.sent", "invoice.voided", "payment_intent.amount_capturable_updated",
    "payment_intent.canceled", "payment_intent.payment_failed", "payment_intent.succeeded",
    "issuing_authorization.created", "issuing_transaction.created",
}  # fmt: skip
NO_DECIMALS = set("BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF".split())
THREE_DECIMALS = {"BHD", "JOD", "KWD", "OMR", "TND"}
PREFIX = os.environ.get("PARAMETER_PREFIX", "/stripe-amplitude")
AMPLITUDE = os.environ.get("AMPLITUDE_URL", "https://api2.amplitude.com/2/httpapi")
FRESH_FOR = 300

parameter_store = boto3.client("ssm")
amplitude = requests.Session()
cache = {}


def project(name):
    cached = cache.get(name)
    if cached and time.monotonic() - cached["loaded"] < FRESH_FOR:
        return cached
    path = f"{PREFIX}/{name}/"
    pages = parameter_store.get_paginator("get_parameters_by_path")
    pages = pages.paginate(Path=path, Recursive=True, WithDecryption=True)
    values = {p["Name"].removeprefix(path): p["Value"].strip() for page in pages for p in page["Parameters"]}
    secrets = [value for key, value in values.items() if key.startswith("stripe-signing-secret")]
    if not secrets:
        raise LookupError(f"the parameters of {name} are missing")
    cache[name] = {"loaded": time.monotonic(), "secrets": secrets, "key": values["amplitude-api-key"]}
    return cache[name]


def verified(body, signature, secrets):
    for secret in secrets:
        try:
            stripe.WebhookSignature.verify_header(body, signature, secret, stripe.Webhook.DEFAULT_TOLERANCE)
            return json.loads(body)
        except stripe.SignatureVerificationError:
            continue
    return None


def translate(event):
    obj = event["data"]["object"]
    metadata, customer = obj.get("metadata") or {}, obj.get("customer")
    email, customer = (customer.get("email"), customer["id"]) if isinstance(customer, dict) else (None, customer)
    user = (metadata.get("amplitude_id") or metadata.get("user_id") or obj.get("customer_email") or email
            or obj.get("receipt_email") or customer)  # fmt: skip
    properties = {key: value for key, value in obj.items() if key != "client_secret"}
    properties |= {"stripe_livemode": event["livemode"], "stripe_api_version": event["api_version"]}
    device = obj.get("payment_intent") or obj.get("id") or event["id"]
    translated = {"event_type": f"[Stripe] {event['type']}", "time": event["created"] * 1000, "insert_id": event["id"],
                  "device_id": f"stripe-{device}", "event_properties": properties}  # fmt: skip
    if user:
        translated["user_id"] = str(user)
    if event["type"] == "payment_intent.succeeded":
        currency = translated["currency"] = obj["currency"].upper()
        decimals = 0 if currency in NO_DECIMALS else 3 if currency in THREE_DECIMALS else 2
        translated["revenue"] = obj["amount_received"] / 10**decimals
    return translated


def handler(request, context):
    keys = project(request["rawPath"].rsplit("/", 1)[-1])
    body = base64.b64decode(request["body"]).decode() if request["isBase64Encoded"] else request["body"]
    event = verified(body, request["headers"].get("stripe-signature", ""), keys["secrets"])
    if event is None:
        return {"statusCode": 400, "body": json.dumps({"outcome": "refused"})}
    if event["type"] not in TYPES:
        return {"statusCode": 200, "body": json.dumps({"outcome": "ignored"})}
    upload = {"api_key": keys["key"], "events": [translate(event)], "options": {"min_id_length": 1}}
    response = amplitude.post(AMPLITUDE, json=upload, timeout=4.5)
    print(json.dumps({"event": event["id"], "type": event["type"], "amplitude": response.status_code}))
    status, outcome = (200, "forwarded") if response.ok else (500, "failed")
    return {"statusCode": status, "body": json.dumps({"outcome": outcome})}
