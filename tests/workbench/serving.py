"""Runs stripe-amplitude-cli like a user, and posts deliveries like Stripe."""

import hashlib
import hmac
import json
import os
import pathlib
import subprocess
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
SECRET = "whsec_demo"


def program():
    """The binary that Cargo built; `make test` builds it first."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return target / "debug" / "stripe-amplitude-cli"


class Serving:
    """`serve` on a free port, until the end of the `with`."""

    def __init__(self, *arguments, port=0):
        command = [program(), "serve", "--port", str(port), *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        page = next(line for line in self.process.stdout if line.startswith("What lands in Amplitude"))
        self.url = page.split()[-1].rstrip("/")
        # Discards the rest, so that the process does not block.
        self.drain = subprocess.Popen(["cat"], stdin=self.process.stdout, stdout=subprocess.DEVNULL)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.drain.wait()
        self.process.stdout.close()

    def get(self, path):
        with urllib.request.urlopen(self.url + path) as answer:
            return json.load(answer)

    def deliver(self, event, project="demo"):
        """Signs an event now and posts it like Stripe; returns the status and the response."""
        body = json.dumps(event).encode()
        now = str(int(time.time()))
        signature = hmac.new(SECRET.encode(), f"{now}.".encode() + body, hashlib.sha256).hexdigest()
        headers = {"Content-Type": "application/json", "Stripe-Signature": f"t={now},v1={signature}"}
        request = urllib.request.Request(f"{self.url}/stripe/{project}", body, headers)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)


def sample(event_type, **fields):
    """The committed event of a type, with other fields of its object; `id` and `created` are the event's."""
    event = json.loads((ROOT / f"events/stripe/{event_type}.json").read_text())
    for name in ("id", "created"):
        if name in fields:
            event[name] = fields.pop(name)
    event["data"]["object"].update(fields)
    return event
