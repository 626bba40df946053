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

export const classify = (texts, abstain_below) =>
  postJson("v1/classify", { texts: texts.map(whole), abstain_below });
export const explain = (text) => postJson("v1/explain", { text: whole(text) });

export async function isReady() {
  try {
    return (await fetch("readyz")).ok;
  } catch {
    throw unreachable();
  }
}

// What is served; nothing where the token is missing, or an older service answers.
export async function info() {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  try {
    const response = await fetch("info", { headers });
    return response.ok ? await response.json() : {};
  } catch {
    return {};
  }
}

// Half of a surrogate pair, as a cut paste may leave, is no text; U+FFFD has its length.
export function whole(text) {
  return text.toWellFormed ? text.toWellFormed() : text;
}

export async function columnsOf(file, signal) {
  const query = new URLSearchParams({ name: file.name, format: "columns" });
  return (await postFile(query, file, signal)).json();
}

// Calls `onLines` with the rows of a file as they are answered, and with their number.
export async function classifyFile(file, options, signal, onLines) {
  const query = new URLSearchParams({ name: file.name, ...options });
  const response = await postFile(query, file, signal);
  const all = Number(response.headers.get("x-rows"));
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read().catch((error) => {
      throw signal.aborted ? error : new ApiError(0, "The service broke off.");
    });
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    onLines(lines.map((line) => JSON.parse(line)), all);
  }
}

async function postJson(path, body) {
  const response = await post(path, "application/json", JSON.stringify(body));
  return response.json();
}

const postFile = (query, file, signal) =>
  post(`v1/table?${query}`, "application/octet-stream", file, signal);

async function post(path, type, body, signal) {
  for (let tries = 1; ; tries += 1) {
    const response = await send(path, type, body, signal);
    if (response.ok) return response;
    const wait = Number(response.headers.get("retry-after"));
    if (!wait || tries === TRIES) throw await problem(response, body instanceof Blob);
    await new Promise((resume) => setTimeout(resume, 1000 * Math.min(wait, 5)));
  }
}

async function send(path, type, body, signal) {
  const headers = { "content-type": type };
  if (token) headers.authorization = `Bearer ${token}`;
  try {
    return await fetch(path, { method: "POST", headers, body, signal });
  } catch (error) {
    throw signal?.aborted ? error : unreachable();
  }
}

async function problem(response, isFile) {
  const { error } = await response.json().catch(() => ({}));
  const refused = `The service refused this: ${error ?? response.status}.`;
  const known = {
    401: "The token is missing or wrong.",
    413: isFile ? refused : "This message is too long: at most 64 KB can be sent.",
    422: isFile && error ? `${error}.` : refused,
    429: "The service is busy. Try again in a moment.",
    503: "The service does not answer in time. Try again in a moment.",
  };
  return new ApiError(response.status, known[response.status] ?? refused);
}

function unreachable() {
  return new ApiError(0, "The service cannot be reached. Is it still running?");
}
