"""Signs and verifies with Stripe's official library, for official_signer.rs. It reads the body from standard input.

sign.py sign SECRET TIMESTAMP    prints the Stripe-Signature header, after the library has verified it itself
sign.py verify SECRET HEADER     prints the ID of the event, if the library accepts the header
"""

import sys

import stripe

action, secret, argument = sys.argv[1:]
body = sys.stdin.buffer.read().decode("utf-8")

if action == "sign":
    signature = stripe.WebhookSignature._compute_signature(f"{argument}.{body}", secret)
    header = f"t={argument},v1={signature}"
    stripe.WebhookSignature.verify_header(body, header, secret, tolerance=300)
    print(header)
elif action == "verify":
    print(stripe.Webhook.construct_event(body, argument, secret).id)
else:
    sys.exit(f"unknown action: {action}")
