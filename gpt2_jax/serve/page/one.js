// One message: label, probabilities and the words they rest on, as one types.

import { classify, explain, whole } from "/api.js";

const PAUSE = 200; // ms without a key before the text is sent
const SHOWN = 8; // classes with a bar

const $ = (id) => document.getElementById(id);
let timer;
let running = false;

$("message").addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(refresh, PAUSE);
  $("result").classList.add("stale");
});

// One question at a time: what was typed meanwhile is asked next, the rest never.
export async function refresh() {
  if (running) return;
  running = true;
  let text;
  try {
    do {
      text = $("message").value;
      await show(text);
    } while (text !== $("message").value);
    showError(null);
  } catch (error) {
    showError(error);
  } finally {
    running = false;
  }
}

async function show(text) {
  if (!text.trim()) {
    $("result").hidden = true;
    return;
  }
  let results;
  try {
    ({ results } = await classify([text]));
  } catch (error) {
    $("result").hidden = true;
    throw error;
  }
  if (text !== $("message").value) return;
  showResult(results[0]);
  showWords(text, [], results[0].label);
  const explanation = await explain(text);
  if (text !== $("message").value) return;
  showWords(text, explanation.words, explanation.label);
  $("result").classList.remove("stale");
}

function showError(error) {
  $("one-error").hidden = !error;
  $("one-error").textContent = error ? error.message : "";
  if (error?.status === 401) document.dispatchEvent(new Event("token-needed"));
}

const percent = (p) => `${(100 * p).toFixed(1)}%`;

function showResult(result) {
  $("result").hidden = false;
  $("label").textContent = result.label;
  $("percent").textContent = percent(result.prob);
  $("spoken").textContent = `${result.label}, ${percent(result.prob)}`;
  $("cut").textContent = result.truncated
    ? `The message has ${result.n_tokens} tokens; only its beginning was read.`
    : "";
  const sorted = Object.entries(result.probs).sort((a, b) => b[1] - a[1]);
  $("bars").replaceChildren(...sorted.slice(0, SHOWN).flatMap(bar));
}

function bar([label, p], index) {
  const name = document.createElement("dt");
  name.textContent = label;
  const track = document.createElement("dd");
  track.className = index ? "track" : "track best";
  track.setAttribute("aria-hidden", "true");
  const fill = document.createElement("span");
  fill.className = "fill";
  fill.style.width = percent(p);
  track.append(fill);
  const value = document.createElement("dd");
  value.textContent = percent(p);
  return [name, track, value];
}

function showWords(text, words, label) {
  const points = Array.from(whole(text)); // the service counts code points
  const strongest = Math.max(0.02, ...words.map((word) => Math.abs(word.weight)));
  const parts = [];
  let at = 0;
  for (const { start, end, weight } of words) {
    parts.push(points.slice(at, start).join(""));
    parts.push(word(points.slice(start, end).join(""), weight, weight / strongest));
    at = end;
  }
  const rest = document.createElement("span");
  rest.textContent = points.slice(at).join("");
  if (words.length && $("cut").textContent) rest.className = "unread";
  $("reading").replaceChildren(...parts, rest);
  $("legend-label").textContent = label;
  $("legend").hidden = !words.length;
}

function word(text, weight, share) {
  const span = document.createElement("span");
  span.textContent = text;
  span.title = `${weight < 0 ? "−" : "+"}${(100 * Math.abs(weight)).toFixed(1)} points`;
  span.className = "word";
  if (share > 0.05) span.classList.add("for");
  if (share < -0.05) span.classList.add("against");
  span.style.setProperty("--strength", Math.abs(share).toFixed(3));
  return span;
}
