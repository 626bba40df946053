// Many messages: pasted lines or a file -> a table to sort and to download.

import { classifyFile, columnsOf, whole } from "./api.js";
import { abstainBelow, NONE } from "./options.js";
import { csvOf, fill } from "./table.js";

const $ = (id) => document.getElementById(id);
let file = null; // that was chosen; without one the lines are sent
let found; // the column that the service reads of itself; lines of text have no other
let results = [];
let running = null; // what stops it

$("choose").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => {
  if ($("file").files.length) openFile($("file").files[0]);
  $("file").value = "";
});
$("lines").addEventListener("input", closeFile);
$("many-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (running) return;
  running = new AbortController();
  $("classify").disabled = true;
  await run(running.signal);
  $("classify").disabled = false;
  running = null;
});
$("lines").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("many-form").requestSubmit();
});
$("stop").addEventListener("click", () => running?.abort());
$("download").addEventListener("click", download);

// Nothing of what was there before stays beside a file that cannot be read.
export async function openFile(chosen) {
  running?.abort();
  closeFile();
  $("lines").value = "";
  results = [];
  $("results").hidden = true;
  showError(null);
  try {
    showColumns(await columnsOf(chosen));
    file = chosen;
    $("file-name").textContent = chosen.name;
    $("file-box").hidden = false;
  } catch (error) {
    showError(error);
  }
}

function closeFile() {
  file = null;
  $("file-box").hidden = true;
}

function showColumns({ columns, text_columns }) {
  found = text_columns.length === 1 ? text_columns[0] : "";
  $("column").replaceChildren(...columns.map((name) => new Option(name, name)));
  const named = columns.find((name) => /^(text|message|sms)$/i.test(name.trim()));
  $("column").value = text_columns[0] ?? named ?? columns[0];
  if (text_columns.length > 1) {
    $("column").prepend(new Option(text_columns.join(" + "), ""));
    $("column").value = "";
  }
}

// Pasted lines are sent as JSON strings, so that no line can be taken for a header.
function source() {
  if (file) return file;
  const lines = $("lines").value.split(/\r\n|\r|\n/).filter((line) => line.trim());
  if (!lines.length) throw new Error("There are no messages yet.");
  return new File(
    lines.map((line) => `${JSON.stringify({ text: whole(line) })}\n`),
    "messages.jsonl",
  );
}

async function run(signal) {
  showError(null);
  results = [];
  $("results").hidden = true;
  let all = 0;
  try {
    const sent = source();
    const options = { abstain_below: abstainBelow() };
    const column = $("column").value;
    if (file && column !== found) options.text_column = column;
    showRunning(true);
    const start = performance.now();
    await classifyFile(sent, options, signal, (lines, count) => {
      all = count;
      for (const line of lines) results.push({ index: results.length + 1, ...line });
      showProgress(all, performance.now() - start);
    });
  } catch (error) {
    const done = results.length ? ` ${results.length} of ${all} are done.` : "";
    showError(new Error((signal.aborted ? "Stopped." : error.message) + done));
    if (error.status === 401) document.dispatchEvent(new Event("token-needed"));
  }
  showRunning(false);
  if (results.length) showResults();
}

function showRunning(on) {
  $("running").hidden = !on;
  $("progress").removeAttribute("value");
  $("progress-text").textContent = on ? "Reading" : "";
}

function showProgress(all, elapsed) {
  $("progress").max = all;
  $("progress").value = results.length;
  const left = (elapsed / results.length) * (all - results.length);
  const text = elapsed > 2000 && left > 1000 ? `, about ${duration(left)} left` : "";
  $("progress-text").textContent = `${results.length} of ${all}${text}`;
}

function duration(milliseconds) {
  const seconds = Math.round(milliseconds / 1000);
  return seconds < 90 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
}

function showError(error) {
  $("many-error").hidden = !error;
  $("many-error").textContent = error ? error.message : "";
}

function showResults() {
  const counts = new Map();
  for (const { label } of results) {
    counts.set(label ?? NONE, (counts.get(label ?? NONE) ?? 0) + 1);
  }
  const sorted = [...counts].sort((a, b) => b[1] - a[1]);
  const noun = results.length === 1 ? "message" : "messages";
  const parts = sorted.map(([label, count]) => `${count} ${label}`).join(", ");
  $("summary").textContent = `${results.length} ${noun}: ${parts}`;
  $("results").hidden = false;
  fill(results);
}

function download() {
  const blob = new Blob([csvOf(results)], { type: "text/csv" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = "labels.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
