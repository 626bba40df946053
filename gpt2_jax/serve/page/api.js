// The service, from the page: one function per route, errors as sentences.

const TRIES = 8;
let token = "";

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export function setToken(value) {
  token = value;
}

export const classify = (texts) => post("/v1/classify", { texts: texts.map(whole) });
export const explain = (text) => post("/v1/explain", { text: whole(text) });

export async function isReady() {
  try {
    return (await fetch("/readyz")).ok;
  } catch {
    throw unreachable();
  }
}

// Half of a surrogate pair, as a cut paste may leave, is no text; U+FFFD has its length.
export function whole(text) {
  return text.toWellFormed ? text.toWellFormed() : text;
}

async function post(path, body) {
  for (let tries = 1; ; tries += 1) {
    const response = await send(path, body);
    if (response.ok) return response.json();
    const wait = Number(response.headers.get("retry-after"));
    if (!wait || tries === TRIES) throw await problem(response);
    await new Promise((resume) => setTimeout(resume, 1000 * Math.min(wait, 5)));
  }
}

async function send(path, body) {
  const headers = { "content-type": "application/json" };
  if (token) headers.authorization = `Bearer ${token}`;
  try {
    return await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
  } catch {
    throw unreachable();
  }
}

async function problem(response) {
  const known = {
    401: "The token is missing or wrong.",
    413: "This message is too long: at most 64 KB can be sent.",
    429: "The service is busy. Try again in a moment.",
    503: "The service does not answer in time. Try again in a moment.",
  };
  const { error } = await response.json().catch(() => ({}));
  const message = known[response.status] ?? `The service refused this: ${error ?? response.status}.`;
  return new ApiError(response.status, message);
}

function unreachable() {
  return new ApiError(0, "The service cannot be reached. Is it still running?");
}
