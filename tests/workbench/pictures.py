"""Takes the screenshots in docs/pictures: `make pictures`."""

import subprocess
import time

from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

import browser
from serving import ROOT, Serving, program, sample

PICTURES = ROOT / "docs" / "pictures"

# Each view's address, height, and the element to wait for.
VIEWS = {
    "deliveries": ("deliveries", 620, "#deliveries-rows tr:nth-child(8)"),
    "delivery": ("deliveries/{payment}", 1500, '[data-hop="answer"] [data-path="code"]'),
    "send": ("send", 1000, "#send-event-hint"),
    "charts": ("charts", 1500, '[data-chart="big_spenders"] table'),
}


def take(page, serving, payment):
    for name, (address, height, there) in VIEWS.items():
        page.set_window_size(1280, height)
        # A reload after a change of the fragment fails now and then.
        page.get("about:blank")
        page.get(f"{serving.url}/#{address.format(payment=payment)}")
        WebDriverWait(page, 60).until(lambda _: page.find_elements(By.CSS_SELECTOR, there), f"{name}: no {there}")
        if name == "send":
            page.find_element(By.CSS_SELECTOR, '[data-mistake="wrong_secret"]').click()
            WebDriverWait(page, 20).until(lambda _: page.find_elements(By.ID, "answer-status"), "no answer")
            page.execute_script("window.scrollTo(0, 0)")
        # Waits for the charts' layout.
        time.sleep(2)
        page.save_screenshot(str(PICTURES / f"{name}.png"))
        print(PICTURES / f"{name}.png")


def by_reference(serving):
    """The newest payment with the user from the customer and products from the invoice."""
    for payment in serving.get("/workbench/deliveries?type=payment_intent.succeeded")["deliveries"]:
        reads = serving.get(f"/workbench/deliveries/{payment['number']}")["references"]["reads"]
        values = [found["at"] for read in reads for found in read["found"] if "value" in found]
        if values == ["customer.metadata.user_id", "product_names"]:
            return payment["number"]
    raise LookupError("no payment has a user by reference")


def main():
    PICTURES.mkdir(exist_ok=True)
    with Serving() as serving:
        shop = [program(), "generate", "--to", f"{serving.url}/stripe/demo"]
        now = int(time.time())
        subprocess.run(shop, check=True, stdout=subprocess.DEVNULL)
        for event_type in ("balance.available", "invoice.paid", "charge.refunded", "payment_intent.succeeded"):
            serving.deliver(sample(event_type, created=now))
        serving.deliver(sample("payment_intent.succeeded", created=now))
        serving.deliver({**sample("charge.failed", created=now), "type": "customer.created"})
        payment = by_reference(serving)
        page = browser.start()
        try:
            take(page, serving, payment)
        finally:
            page.quit()


if __name__ == "__main__":
    main()
