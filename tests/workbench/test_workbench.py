"""Tests the workbench in a real browser. `make test` runs them if Chromium and ChromeDriver are installed."""

import datetime
import json
import pathlib
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

import browser
from serving import Serving, sample


def user(name):
    return {"amplitude_id": None, "user_id": name}


@unittest.skipUnless(browser.is_there(), "Chromium or ChromeDriver is missing (Debian: chromium chromium-driver)")
class Workbench(unittest.TestCase):
    def setUp(self):
        self.serving = self.enterContext(Serving())
        self.browser = browser.start()
        self.addCleanup(self.browser.quit)

    def tearDown(self):
        # The console logs responses with an error status, such as rejected signatures. Script errors are not allowed.
        console = [line for line in self.browser.get_log("browser") if line["source"] != "network"]
        self.assertEqual(console, [])
        sent = [json.loads(line["message"])["message"] for line in self.browser.get_log("performance")]
        urls = [entry["params"]["request"]["url"] for entry in sent if entry["method"] == "Network.requestWillBeSent"]
        # Internal pages and data URLs need no network.
        elsewhere = [url for url in urls if url.startswith(("http", "ws")) and not url.startswith("http://127.0.0.1:")]
        self.assertEqual(elsewhere, [], "no request leaves the machine")

    def open(self, address):
        self.browser.get(f"{self.serving.url}/#{address}")

    def load(self, address):
        """Loads the page itself again. ChromeDriver fails now and then if a reload follows a change of the fragment."""
        self.browser.get("about:blank")
        self.open(address)

    def find(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector):
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def until(self, what, look, seconds=20):
        """Waits until `look` returns something, and returns it."""
        wait = WebDriverWait(self.browser, seconds, ignored_exceptions=[StaleElementReferenceException])
        try:
            return wait.until(lambda _: look())
        except TimeoutException:
            self.fail(f"in vain waited for: {what}; there is: {self.find('main').text[:2000]}")

    def act(self, selector, action):
        """Waits for the element and performs the action; retries if the list was just redrawn."""
        self.until(selector, lambda: (found := self.all(selector)) and (action(found[0]), True)[1])

    def text_of(self, selector):
        found = self.all(selector)
        return found[0].text if found and found[0].is_displayed() else ""

    def see(self, selector, words):
        """Waits until the element is visible and contains the words."""
        self.until(f"{selector} says {words!r}", lambda: words in self.text_of(selector))

    def test_the_list_updates_automatically_and_is_filtered(self):
        self.open("deliveries")
        self.see("#deliveries-empty", "No deliveries yet")
        self.see("#connection", "Live")
        self.serving.deliver(sample("payment_intent.succeeded", metadata=user("user_0001")))
        self.see('[data-delivery="1"]', "20.00 USD")
        self.serving.deliver(sample("charge.failed", metadata=user("user_0002")))
        # The text is read while waiting, because the list may just be redrawn.
        row = self.until("the second delivery", lambda: (rows := self.all("#deliveries-rows tr"))[1:] and rows[0].text)
        for words in ("charge.failed", "forwarded", "user_0002"):
            self.assertIn(words, row, "newest first")
        self.find("#filter-user").send_keys("user_0001")
        self.until("one row", lambda: len(self.all("#deliveries-rows tr")) == 1)
        self.serving.deliver(sample("charge.failed", id="evt_other", metadata=user("user_0002")))
        self.serving.deliver(sample("charge.failed", id="evt_same", metadata=user("user_0001")))
        self.see('[data-delivery="4"]', "user_0001")
        self.assertEqual(self.all('[data-delivery="3"]'), [], "the filter applies to new deliveries")

    def test_a_delivery_has_notes_and_can_be_repeated(self):
        self.serving.deliver(sample("payment_intent.succeeded", metadata=user("user_0001")))
        self.open("deliveries")
        self.act('[data-delivery="1"] a', lambda row: row.send_keys(Keys.ENTER))
        self.see('[data-hop="stripe"]', '"amount_received": 2000')
        for path, kind, words in [
            ("data.object.metadata.user_id", "user_id", "user_0001"),
            ("data.object.metadata.amplitude_id", "passed_over", "null"),
            ("data.object.amount_received", "revenue", "20.00 USD"),
            ("data.object.client_secret", "removed", "credential"),
        ]:
            line = f'[data-hop="stripe"] [data-path="{path}"]'
            self.see(f'{line} [data-kind="{kind}"]', words)
        self.assertTrue(self.all('[data-hop="stripe"] [data-path="data.object.client_secret"] del'))
        self.see('[data-hop="amplitude"] [data-path="events.0.user_id"]', '"user_0001"')
        self.see('[data-hop="amplitude"] [data-path="events.0.revenue"]', "20")
        self.see('[data-hop="amplitude"] [data-path="api_key"]', "hidden-")
        self.see('[data-hop="answer"] [data-path="events_ingested"]', "1")
        self.assertGreaterEqual(len(self.all("#timeline li")), 3)
        self.see("#explanation", "User ID: user_0001")
        self.assertIn("(hidden)", self.text_of('[data-hop="stripe"] [data-path="data.object.client_secret"]'))
        whole = json.dumps(self.serving.get("/workbench/deliveries/1"))
        for secret in ("whsec_demo", '\\"api_key\\":\\"demo\\"', "_secret_EXAMPLE"):
            self.assertNotIn(secret, whole)
        self.find("#send-again").click()
        self.see("#repeat", "Amplitude dropped it")
        self.see('[data-hop="answer"] [data-path="events_ingested"]', "0")
        self.assertTrue(self.browser.current_url.endswith("#deliveries/2"))

    def test_reads_are_shown(self):
        session = {"subscription": "sub_0007", "payment_intent": None, "customer": "cus_0007", "metadata": {}}
        self.serving.deliver(sample("checkout.session.completed", client_reference_id="user_0007", **session))
        status, answer = self.serving.deliver(
            sample(
                "invoice.paid",
                subscription="sub_0007",
                customer="cus_0007",
                customer_email=None,
                metadata={},
                subscription_details={"metadata": {}},
            )
        )
        self.assertEqual((status, answer["user_id_from"]), (200, "checkout_session.client_reference_id"))
        self.open("deliveries/2")
        read = '#reads [data-served="checkout_session.client_reference_id"]'
        self.see(read, "GET /v1/checkout/sessions?subscription=sub_0007")
        self.see(read, "200 in")
        self.see(f'{read} [data-at="checkout_session.client_reference_id"]', "user_0007")
        self.see('#reads [data-served="customer.metadata.amplitude_id"]', "from cache")
        self.see("#timeline", "Stripe’s API: 200")
        line = '[data-hop="stripe"] [data-path="data.object.checkout_session.client_reference_id"]'
        self.see(line, "found by reference")
        self.see("#explanation", "→ checkout_session.client_reference_id")
        self.see('[data-hop="amplitude"] [data-path="events.0.user_id"]', "user_0007")
        whole = json.dumps(self.serving.get("/workbench/deliveries/2"))
        for hidden in ("rk_test_demo", "rk_live_demo"):
            self.assertNotIn(hidden, whole)
        # Only the values at the paths are shown.
        reads = json.dumps(self.serving.get("/workbench/deliveries/2")["references"])
        self.assertNotIn("jenny", reads)

    def test_objects_known_only_by_id_are_marked(self):
        self.serving.deliver(sample("payment_intent.succeeded", customer="cus_0008", metadata={}, receipt_email=None))
        self.open("deliveries/1")
        read = '#reads [data-served="customer.metadata.amplitude_id"]'
        self.see(read, "The local Stripe knows only its ID.")
        self.see(f'{read} [data-at="customer.metadata.amplitude_id"]', "the local Stripe knows only its ID")
        self.see("#explanation", "Read, but the local Stripe knows only its ID")

    def test_notes_follow_the_settings(self):
        projects = pathlib.Path(tempfile.mkdtemp()) / "projects.toml"
        projects.write_text(
            '[shop]\nstripe-signing-secret = "whsec_demo"\namplitude-api-key = "key"\n'
            'settings = { refunds = "negative_revenue", max_age_days = 0 }\n'
        )
        with Serving("--projects", str(projects)) as serving:
            serving.deliver(sample("charge.refunded"), "shop")
            self.browser.get(f"{serving.url}/#deliveries/1")
            self.see('[data-hop="stripe"] [data-path="data.object.amount_refunded"] [data-kind="revenue"]', "-")
            self.see('[data-hop="amplitude"] [data-path="events.0.revenue"]', "-")

    def test_mistakes_and_faults_show_the_response(self):
        self.open("send")
        self.see("#send-event-hint", "payment_intent.succeeded")
        for button, status, words in [
            ('[data-mistake="wrong_secret"]', "400", "signature does not match"),
            ('[data-mistake="old_timestamp"]', "400", "timestamp too old"),
            ('[data-mistake="changed_body"]', "400", "signature does not match"),
            ('[data-mistake="thin_event"]', "400", "a thin event"),
            ('[data-fault="429"]', "502", "429"),
            ('[data-fault="500"]', "502", "500"),
            ('[data-fault="hang"]', "502", "timed out"),
            ("#send-button", "200", "forwarded"),
        ]:
            with self.subTest(button):
                before = self.find("#send-answer").get_attribute("data-number")
                self.find(button).click()
                self.until(
                    "an answer", lambda: self.find("#send-answer").get_attribute("data-number") not in (None, before)
                )
                self.see("#answer-status", status)
                self.see("#send-answer", words)
                again = "retries with back-off" if status != "200" else "does not send it again"
                self.see("#answer-meaning", again)
        listed = self.serving.get("/workbench/deliveries")["deliveries"]
        self.assertEqual([delivery["status"] for delivery in listed], [200, 502, 502, 502, 400, 400, 400, 400])
        attempts = [len(self.serving.get(f"/workbench/deliveries/{number}")["amplitude"]) for number in (5, 6, 8)]
        self.assertEqual(attempts, [1, 3, 1])

    def test_edited_fields_are_sent(self):
        self.open("send")
        self.see("#send-event-hint", "payment_intent.succeeded")
        for field, value in [("amount", "1234"), ("currency", "jpy"), ("user", "user_0042")]:
            entry = self.find(f"#send-{field}")
            entry.clear()
            entry.send_keys(value, Keys.TAB)
        # In test mode, and then the same in live mode.
        self.find("#send-button").click()
        self.see("#answer-status", "200")
        self.find("#send-live").click()
        self.find("#send-user").clear()
        self.find("#send-user").send_keys("user_0042", Keys.TAB)
        self.find("#send-button").click()
        self.until("the second answer", lambda: self.find("#send-answer").get_attribute("data-number") == "2")
        self.see("#answer-status", "200")
        self.find("#answer-delivery").click()
        self.see('[data-hop="amplitude"] [data-path="events.0.revenue"]', "1234")
        self.see('[data-hop="amplitude"] [data-path="events.0.currency"]', "JPY")
        self.see('[data-hop="amplitude"] [data-path="events.0.user_id"]', "user_0042")
        self.see('[data-hop="stripe"] [data-path="livemode"]', "true")
        self.open("send")
        self.until("the samples", lambda: len(self.all("#send-sample option")) > 26)
        Select(self.find("#send-sample")).select_by_visible_text("invoice.paid")
        self.see("#send-event-hint", "invoice.paid")

    def test_charts_match_the_events(self):
        for event in SHOP:
            status, answer = self.serving.deliver(event)
            self.assertEqual(status, 200, answer)
        self.open("charts")
        for name, expected in CHARTS.items():
            with self.subTest(name):
                card = f'[data-chart="{name}"]'
                self.until("the chart", lambda: self.all(f"{card} canvas, {card} table"))
                self.assertEqual(self.rows(card)[: len(expected)], expected)
                if name != "retention":
                    self.assertEqual(len(self.rows(card)), len(expected))
                self.assertTrue(self.all(f"{card} .steps li"), "how to build it in Amplitude")
        self.assertEqual(self.find('[data-chart="retention"] canvas').get_attribute("role"), "img")
        # All events are older.
        self.find('#cohort input[value="last_30_days"]').click()
        self.until("an empty cohort", lambda: self.find('[data-chart="big_spenders"]').get_attribute("data-empty") == "true")

    def rows(self, card):
        script = """return [...document.querySelectorAll(arguments[0] + " table.values tbody tr")].map(
            (row) => [...row.children].map((cell) => cell.dataset.value))"""
        return self.browser.execute_script(script, card)

    def test_keyboard_and_narrow_window(self):
        self.serving.deliver(sample("payment_intent.succeeded"))
        self.browser.set_window_size(500, 900)
        self.browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": 360, "height": 780, "deviceScaleFactor": 1, "mobile": False},
        )
        for view in ("deliveries", "deliveries/1", "send", "charts", "help"):
            self.load(view)
            self.until(view, lambda: [h for h in self.all("h1") if h.is_displayed()])
            width = self.browser.execute_script("return document.documentElement.scrollWidth")
            self.assertLessEqual(width, 360, f"{view} is not wider than the window")
            nameless = self.browser.execute_script(NAMELESS)
            self.assertEqual(nameless, [], f"{view}: every control has a name")
        self.open("help")
        pictures = "return [...document.querySelectorAll('#view-help img')].map((one) => (one.loading = 'eager', one.decode()))"
        self.browser.execute_async_script(
            f"Promise.all((() => {{ {pictures} }})()).then(() => arguments[0](true), (e) => arguments[0](String(e)))"
        )
        sizes = self.browser.execute_script(
            "return [...document.querySelectorAll('#view-help img')].map((one) => one.naturalWidth)"
        )
        self.assertEqual(sizes, 4 * [1280], "the help shows its pictures")
        self.load("deliveries")
        self.see("#connection", "Live")
        self.browser.switch_to.active_element.send_keys(Keys.TAB)
        self.assertEqual(self.browser.switch_to.active_element.get_attribute("id"), "skip")

    def test_deliveries_survive_a_restart(self):
        file = str(pathlib.Path(tempfile.mkdtemp()) / "deliveries.db")
        event = sample("payment_intent.succeeded", metadata=user("user_0001"))
        with Serving("--data", file) as serving:
            serving.deliver(event)
        with Serving("--data", file) as serving:
            self.browser.get(f"{serving.url}/#deliveries")
            self.see('[data-delivery="1"]', "user_0001")
            serving.deliver(event)
            self.see('[data-delivery="2"]', "repeat")
            self.assertEqual(serving.get("/workbench/charts?project=demo")["events"], 1)

    def test_a_disconnected_delivery_is_recorded_and_faults_are_isolated(self):
        sending = threading.Thread(target=self.send_with_a_hang)
        sending.start()
        time.sleep(0.5)
        status, _ = self.serving.deliver(sample("charge.failed"))
        self.assertEqual(status, 200)
        sending.join()
        self.open("deliveries")
        self.see('[data-outcome="failed"]', "timed out")
        self.act('[data-outcome="failed"] a', lambda row: row.click())
        self.see("#explanation-heading", "once nothing fails")
        self.assertEqual(len(self.all("[data-attempt]")), len(self.all('[data-hop="answer"] .notice')))

    def send_with_a_hang(self):
        to_send = {"project": "demo", "event": json.dumps(sample("payment_intent.succeeded")), "fault": "hang"}
        url, headers = f"{self.serving.url}/workbench/send", {"Content-Type": "application/json"}
        with self.assertRaises(TimeoutError):
            urllib.request.urlopen(urllib.request.Request(url, json.dumps(to_send).encode(), headers), timeout=1)

    def test_refused_requests_are_not_signed_again(self):
        event = json.dumps(sample("payment_intent.succeeded"))
        request = urllib.request.Request(
            f"{self.serving.url}/stripe/demo", event.encode(), {"Stripe-Signature": "t=1,v1=" + 64 * "0"}
        )
        with self.assertRaises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request)
        refused.exception.close()
        self.open("deliveries/1")
        self.see("#code", "signature_mismatch")
        self.see("#edit", "Edit and send")
        self.assertFalse(self.find("#send-again").is_displayed())
        self.assertEqual(self.all("#explanation"), [])
        request = urllib.request.Request(
            f"{self.serving.url}/workbench/deliveries/1/again", b"{}", {"Content-Type": "application/json"}
        )
        with self.assertRaises(urllib.error.HTTPError) as again:
            urllib.request.urlopen(request)
        self.assertIn("not signed again", json.load(again.exception)["error"])
        again.exception.close()

    def test_other_origins_and_hosts_are_rejected(self):
        url = f"{self.serving.url}/workbench/deliveries"
        post = {"Content-Type": "application/json"}
        for headers, data in [
            ({"Host": "shop.example.com"}, None),
            ({"Origin": "http://shop.example.com"}, None),
            ({"Origin": "http://shop.example.com", **post}, b"{}"),
            ({"Content-Type": "text/plain"}, b"{}"),
        ]:
            with self.subTest(headers), self.assertRaises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(urllib.request.Request(url, data, headers))
            self.assertEqual(refused.exception.code, 403)
            self.assertNotIn("Access-Control-Allow-Origin", refused.exception.headers)
            refused.exception.close()


# Buttons, links and fields without a name for a screen reader.
NAMELESS = """return [...document.querySelectorAll("button, a[href], input, select, textarea, canvas")]
    .filter((one) => one.offsetParent !== null)
    .filter((one) => !(one.textContent.trim() || one.getAttribute("aria-label") || one.labels?.length))
    .map((one) => one.outerHTML)"""


def at(day, hour=12):
    """A time in September 2026, whose 7th, 14th and 21st are Mondays."""
    return int(datetime.datetime(2026, 9, day, hour, tzinfo=datetime.timezone.utc).timestamp())


def purchase(number, day, name, amount, currency="usd", **fields):
    return sample(
        "payment_intent.succeeded",
        **{"id": f"evt_payment_{number}", "created": at(day), "metadata": user(name)},
        amount=amount,
        amount_received=amount,
        currency=currency,
        description="Tea",
        **fields,
    )


def invoice(number, day, name, amount, *products):
    """Its payment has products only by reference."""
    lines = [{"object": "line_item", "description": product} for product in products]
    paid = sample(
        "invoice.payment_succeeded",
        **{"id": f"evt_invoice_{number}", "created": at(day), "metadata": user(name)},
        amount_paid=amount,
        currency="usd",
        lines={"object": "list", "data": lines},
    )
    paid["data"]["object"]["id"] = f"in_{number}"
    return paid


SHOP = [
    invoice(1, 7, "user_0001", 5000, "Coffee"),
    purchase(1, 7, "user_0001", 5000, invoice="in_1"),
    purchase(2, 8, "user_0002", 3000, "eur"),
    invoice(3, 10, "user_0001", 6000, "Coffee", "Mug"),
    purchase(3, 10, "user_0001", 6000, invoice="in_3"),
    purchase(4, 15, "user_0003", 10000),
    purchase(5, 22, "user_0001", 1000),
    purchase(6, 24, "user_0003", 500),
]

# Computed by hand, as [x, series, y] or [x, y].
CHARTS = {
    # The first week has 50 + 60 dollars and 30 euros, the third 10 + 5 dollars; currencies stay apart.
    "total_revenue": [
        ["2026-09-07", "EUR", "30"],
        ["2026-09-07", "USD", "110"],
        ["2026-09-14", "EUR", "0"],
        ["2026-09-14", "USD", "100"],
        ["2026-09-21", "EUR", "0"],
        ["2026-09-21", "USD", "15"],
    ],
    # Three purchases by two users; one by one; two by two.
    "average_purchases": [["2026-09-07", "1.5"], ["2026-09-14", "1"], ["2026-09-21", "1"]],
    # user_0002 once, user_0003 twice, user_0001 three times.
    "purchase_frequency": [["1", "1"], ["2", "1"], ["3", "1"]],
    # Of three, user_0003 came back in the week after the first, user_0001 in the one after that. More weeks follow
    # that have ended by now.
    "retention": [["Week 0", "100"], ["Week 1", "33.3"], ["Week 2", "33.3"], ["Week 3", "0"]],
    # The payment of 60 counts for both of its products; 100, 10 and 5 dollars, and 30 euros, are for tea.
    "revenue_by_product": [["Tea", "115"], ["Coffee", "110"], ["Mug", "60"]],
    "orders_by_product": [["Tea", "4"], ["Coffee", "2"], ["Mug", "1"]],
    # 110 in the first seven days; user_0003's 100 are not more than 100.
    "big_spenders": [["user_0001", "110"]],
}

if __name__ == "__main__":
    unittest.main()
