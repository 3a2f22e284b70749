// The server's answers, as values; its errors, as sentences.

const UNREACHABLE = "The workbench does not answer. Is stripe-amplitude-cli serve still running?";

export function get(path, choices = {}, signal = undefined) {
  const query = new URLSearchParams(Object.entries(choices).filter(([, value]) => value));
  return answered(fetch(`/workbench/${path}${query.size ? `?${query}` : ""}`, { signal }));
}

export function post(path, body = {}) {
  // The type is what keeps pages of other sites from posting here: they would have to ask first.
  const headers = { "Content-Type": "application/json" };
  return answered(fetch(`/workbench/${path}`, { method: "POST", headers, body: JSON.stringify(body) }));
}

async function answered(request) {
  let response;
  try {
    response = await request;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(UNREACHABLE);
  }
  const body = await response.json().catch((error) => {
    if (error.name === "AbortError") throw error;
    return null;
  });
  if (!response.ok) throw new Error(body?.error ?? `The workbench answered ${response.status}.`);
  return body;
}
