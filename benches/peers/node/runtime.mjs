// The loop on Lambda's runtime API: `node runtime.mjs index.js`. AWS's own client for Node.js is built from C++ with
// CMake and Autotools, which few machines have; this one has less to load and to do.
import { readFileSync } from "node:fs";
import { Agent, request } from "node:http";
import tls from "node:tls";
import { pathToFileURL } from "node:url";

// What NODE_EXTRA_CA_CERTS does, but not before the first connection: with that variable, Node.js 20 reads all of its
// certificates at every start, which it does not on Lambda.
const authority = readFileSync(process.env.EXTRA_CA_FILE);
const { createSecureContext } = tls;
tls.createSecureContext = (options) => {
  const secure = createSecureContext(options);
  secure.context.addCACert(authority);
  return secure;
};

const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(":");
const agent = new Agent({ keepAlive: true, maxSockets: 1 });

function call(method, path, body) {
  return new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) };
    const call = request({ host, port, method, path: `/2018-06-01/runtime/${path}`, headers, agent }, (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("end", () => resolve({ headers: response.headers, text: Buffer.concat(chunks).toString() }));
      response.on("error", reject);
    });
    call.on("error", reject);
    call.end(body);
  });
}

const module = await import(pathToFileURL(process.argv[2]));
const handler = module.handler ?? module.default.handler;
for (;;) {
  const { headers, text } = await call("GET", "invocation/next");
  const id = headers["lambda-runtime-aws-request-id"];
  process.env._X_AMZN_TRACE_ID = headers["lambda-runtime-trace-id"];
  try {
    const answer = await handler(JSON.parse(text), { awsRequestId: id });
    await call("POST", `invocation/${id}/response`, JSON.stringify(answer));
  } catch (error) {
    await call("POST", `invocation/${id}/error`, JSON.stringify({ errorType: error.name, errorMessage: error.message }));
  }
}
