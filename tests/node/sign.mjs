// Signs sample events with Stripe's official package, using the built-in project's secret, posts them to the given URL, and
// checks that the package accepts its own signatures. Exits with 1 after an unexpected answer.
import { readFile } from "node:fs/promises";
import Stripe from "stripe";

const [url, ...files] = process.argv.slice(2);
const secret = "whsec_demo";
const stripe = new Stripe("sk_test_unused");

const post = async (payload, header) => {
  const answer = await fetch(url, { method: "POST", body: payload, headers: { "stripe-signature": header } });
  return { status: answer.status, ...(await answer.json()) };
};

let failures = 0;
const expect = (what, answer, status, outcome) => {
  const ok = answer.status === status && answer.outcome === outcome;
  failures += ok ? 0 : 1;
  console.log(`${ok ? "ok" : "FAILED"}: ${what}: ${JSON.stringify(answer)}`);
};

for (const file of files) {
  const payload = await readFile(file, "utf8");
  const header = stripe.webhooks.generateTestHeaderString({ payload, secret });
  stripe.webhooks.constructEvent(payload, header, secret);
  expect(file, await post(payload, header), 200, "forwarded");
}
const payload = await readFile(files[0], "utf8");
const wrong = stripe.webhooks.generateTestHeaderString({ payload, secret: "whsec_other" });
expect("another secret", await post(payload, wrong), 400, "refused");
const timestamp = Math.floor(Date.now() / 1000) - 301;
const old = stripe.webhooks.generateTestHeaderString({ payload, secret, timestamp });
expect("an old signature", await post(payload, old), 400, "refused");
process.exit(failures === 0 ? 0 : 1);
