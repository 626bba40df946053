// One message: label, probabilities and the words they rest on, as one types.

import { classify, explain, info, whole } from "./api.js";
import { abstainBelow, NONE, percent } from "./options.js";
import { showProgram } from "./program.js";

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

$("message").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  clearTimeout(timer);
  refresh();
});

$("abstain").addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(refresh, PAUSE);
});

export async function offerExamples() {
  const { examples = [] } = await info();
  const buttons = examples.map((text) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "example";
    button.textContent = text;
    button.dir = "auto";
    button.addEventListener("click", () => {
      $("message").value = text;
      refresh();
    });
    return button;
  });
  $("examples").replaceChildren(...buttons);
  $("examples").hidden = !buttons.length;
}

// One question at a time: what was typed meanwhile is asked next, the rest never.
export async function refresh() {
  if (running) return;
  running = true;
  let asked;
  try {
    do {
      asked = question();
      await show($("message").value, asked);
    } while (asked !== question());
    showError(null);
  } catch (error) {
    showError(error);
  } finally {
    running = false;
  }
}

const question = () => `${abstainBelow()} ${$("message").value}`;

async function show(text, asked) {
  if (!text.trim()) {
    $("result").hidden = true;
    return;
  }
  let answer;
  try {
    answer = await classify([text], abstainBelow());
  } catch (error) {
    $("result").hidden = true;
    throw error;
  }
  if (asked !== question()) return;
  showResult(answer.results[0], answer.threshold);
  showProgram(whole(text), abstainBelow());
  showWords(text, [], "");
  const explanation = await explain(text);
  if (asked !== question()) return;
  showWords(text, explanation.words, explanation.label);
  $("result").classList.remove("stale");
}

function showError(error) {
  $("one-error").hidden = !error;
  $("one-error").textContent = error ? error.message : "";
  if (error?.status === 401) document.dispatchEvent(new Event("token-needed"));
}

function showResult(result, threshold) {
  const label = result.label ?? NONE;
  $("result").hidden = false;
  $("label").textContent = label;
  $("percent").textContent = percent(result.prob);
  $("spoken").textContent = `${label}, ${percent(result.prob)}`;
  $("decision").textContent = decision(result, threshold);
  $("cut").textContent = result.truncated
    ? `The message has ${result.n_tokens} tokens; only its beginning was read.`
    : "";
  const sorted = Object.entries(result.probs).sort((a, b) => b[1] - a[1]);
  const bars = sorted.slice(0, SHOWN).map(([name, p]) => bar(name, p, result));
  $("bars").replaceChildren(...bars.flat());
}

// Why this label, where it is not simply the most probable one.
function decision({ label, prob }, threshold) {
  const parts = [];
  if (threshold) parts.push(`${threshold.label} is given from ${percent(threshold.value)} on.`);
  if (label === null) {
    parts.push(`No label: ${percent(prob)} is below ${percent(abstainBelow())}.`);
  }
  return parts.join(" ");
}

function bar(label, p, result) {
  const name = document.createElement("dt");
  name.textContent = label;
  const track = document.createElement("dd");
  track.className = label === result.label ? "track best" : "track";
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
