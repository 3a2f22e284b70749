// What a user would write in JavaScript: the function's duties in an afternoon, with the official packages.
import { paginateGetParametersByPath, SSMClient } from "@aws-sdk/client-ssm";
import Stripe from "stripe";

const TYPES = new Set([
  "application_fee.created", "application_fee.refund.updated", "application_fee.refunded", "balance.available",
  "charge.captured", "charge.failed", "charge.refunded", "charge.succeeded", "charge.updated",
  "checkout.session.async_payment_failed", "checkout.session.async_payment_succeeded", "checkout.session.completed",
  "invoice.created", "invoice.finalized", "invoice.marked_uncollectible", "invoice.paid", "invoice.payment_failed",
  "invoice.payment_succeeded", "invoice.sent", "invoice.voided", "payment_intent.amount_capturable_updated",
  "payment_intent.canceled", "payment_intent.payment_failed", "payment_intent.succeeded",
  "issuing_authorization.created", "issuing_transaction.created",
]);
const NO_DECIMALS = new Set("BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF".split(" "));
const THREE_DECIMALS = new Set("BHD JOD KWD OMR TND".split(" "));
const PREFIX = process.env.PARAMETER_PREFIX || "/stripe-amplitude";
const AMPLITUDE = process.env.AMPLITUDE_URL || "https://api2.amplitude.com/2/httpapi";
const parameterStore = new SSMClient({});
const cache = new Map();

async function project(name) {
  const cached = cache.get(name);
  if (cached && Date.now() - cached.loaded < 300_000) return cached;
  const path = `${PREFIX}/${name}/`;
  const loaded = { loaded: Date.now(), secrets: [] };
  const input = { Path: path, Recursive: true, WithDecryption: true };
  for await (const page of paginateGetParametersByPath({ client: parameterStore }, input)) {
    for (const { Name, Value } of page.Parameters ?? []) {
      const parameter = Name.slice(path.length);
      if (parameter === "amplitude-api-key") loaded.key = Value.trim();
      if (parameter.startsWith("stripe-signing-secret")) loaded.secrets.push(Value.trim());
    }
  }
  if (!loaded.key || !loaded.secrets.length) throw new Error(`the parameters of ${name} are missing`);
  cache.set(name, loaded);
  return loaded;
}

function verify(body, signature, secrets) {
  for (const secret of secrets) {
    try {
      return Stripe.webhooks.constructEvent(body, signature, secret);
    } catch (error) {
      if (!(error instanceof Stripe.errors.StripeSignatureVerificationError)) throw error;
    }
  }
}

const decimals = (currency) => (NO_DECIMALS.has(currency) ? 0 : THREE_DECIMALS.has(currency) ? 3 : 2);
const answer = (statusCode, outcome) => ({ statusCode, body: JSON.stringify({ outcome }) });

function translate(event) {
  const { client_secret, ...object } = event.data.object;
  const { metadata, customer } = object;
  const user = [metadata?.amplitude_id, metadata?.user_id, object.customer_email, customer?.email,
    object.receipt_email, customer?.id ?? customer].find((id) => id != null && id !== "");
  const translated = {
    event_type: `[Stripe] ${event.type}`,
    time: event.created * 1000,
    insert_id: event.id,
    device_id: `stripe-${object.payment_intent ?? object.id ?? event.id}`,
    event_properties: { ...object, stripe_livemode: event.livemode, stripe_api_version: event.api_version },
  };
  if (user != null) translated.user_id = String(user);
  if (event.type === "payment_intent.succeeded") {
    translated.currency = object.currency.toUpperCase();
    translated.revenue = object.amount_received / 10 ** decimals(translated.currency);
  }
  return translated;
}

export async function handler(invocation) {
  try {
    const { secrets, key } = await project(invocation.rawPath.split("/").pop());
    const body = invocation.isBase64Encoded ? Buffer.from(invocation.body, "base64") : invocation.body;
    const event = verify(body, invocation.headers["stripe-signature"] ?? "", secrets);
    if (!event) return answer(400, "refused");
    if (!TYPES.has(event.type)) return answer(200, "ignored");
    const upload = { api_key: key, events: [translate(event)], options: { min_id_length: 1 } };
    const headers = { "Content-Type": "application/json" };
    const request = { method: "POST", headers, body: JSON.stringify(upload), signal: AbortSignal.timeout(4_500) };
    const response = await fetch(AMPLITUDE, request);
    await response.text();
    console.log(JSON.stringify({ event: event.id, type: event.type, amplitude: response.status }));
    return response.ok ? answer(200, "forwarded") : answer(500, "failed");
  } catch (error) {
    console.error(JSON.stringify({ error: error.message }));
    return answer(500, "failed");
  }
}
