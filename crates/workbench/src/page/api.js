// Requests to the server. Responses are values; errors are sentences.

const UNREACHABLE = "The workbench does not respond. Is cargo cli serve still running?";

export function get(path, choices = {}, signal = undefined) {
  const query = new URLSearchParams(Object.entries(choices).filter(([, value]) => value));
  return answered(fetch(`/workbench/${path}${query.size ? `?${query}` : ""}`, { signal }));
}

export function post(path, body = {}) {
  // This type keeps pages of other sites from posting here: the browser would send a preflight request first.
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
  if (!response.ok) throw new Error(body?.error ?? `The workbench responded with ${response.status}.`);
  return body;
}
