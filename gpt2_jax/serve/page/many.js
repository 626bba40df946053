// Many messages: pasted lines or a file -> a table to sort and to download.

import { classify } from "/api.js";
import { format, parse } from "/csv.js";
import { fill, head, rowOf } from "/table.js";

const MAX_FILE = 10e6; // bytes
const BATCH_TEXTS = 64;
const BATCH_BYTES = 40000; // of the 64 KB that a request may have

const $ = (id) => document.getElementById(id);
let table = null; // rows of a file, the first of them its header
let results = [];

$("choose").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => {
  if ($("file").files.length) openFile($("file").files[0]);
  $("file").value = "";
});
$("column").addEventListener("change", showColumn);
$("lines").addEventListener("input", () => {
  table = null;
  $("column-box").hidden = true;
});
$("many-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  if ($("classify").disabled) return;
  $("classify").disabled = true;
  await run(messages());
  $("classify").disabled = false;
});
$("download").addEventListener("click", download);

export async function openFile(file) {
  showError(null);
  try {
    if (file.size > MAX_FILE) throw new Error("This file is larger than 10 MB.");
    const text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
    if (/\.(csv|tsv)$/i.test(file.name)) {
      openTable(parse(text, /\.tsv$/i.test(file.name) ? "\t" : ","));
    } else {
      table = null;
      $("column-box").hidden = true;
      $("lines").value = text;
    }
  } catch (error) {
    showError(error instanceof TypeError ? new Error("This file is not UTF-8 text.") : error);
  }
}

function openTable(rows) {
  if (rows.length < 2) throw new Error("This file has no rows below its header.");
  table = rows;
  $("column").replaceChildren(...rows[0].map((name, index) => new Option(name, index)));
  const named = rows[0].findIndex((name) => /^(text|message|sms)$/i.test(name.trim()));
  $("column").value = String(Math.max(named, 0));
  $("column-box").hidden = false;
  showColumn();
}

// A cell may hold a line break; the lines are only shown, the cells are sent.
function showColumn() {
  $("lines").value = messages().map((text) => text.replace(/\s*[\r\n]+\s*/g, " ")).join("\n");
}

function messages() {
  if (!table) return $("lines").value.split(/\r\n|\r|\n/).filter((line) => line.trim());
  const index = Number($("column").value);
  return table.slice(1).map((row) => row[index] ?? "");
}

async function run(texts) {
  showError(texts.length ? null : new Error("There are no messages yet."));
  if (!texts.length) return;
  results = [];
  $("results").hidden = true;
  $("progress").hidden = false;
  try {
    for (const batch of batches(texts)) {
      showProgress(results.length, texts.length);
      const answer = await classify(batch);
      for (const [i, result] of answer.results.entries()) {
        results.push({ index: results.length + 1, text: batch[i], ...result });
      }
    }
    $("progress-text").textContent = "";
  } catch (error) {
    const done = results.length ? ` ${results.length} of ${texts.length} are done.` : "";
    showError(new Error(error.message + done));
    $("progress-text").textContent = "";
    if (error.status === 401) document.dispatchEvent(new Event("token-needed"));
  }
  $("progress").hidden = true;
  if (results.length) showResults();
}

function* batches(texts) {
  const encoder = new TextEncoder();
  let batch = [];
  let bytes = 0;
  for (const text of texts) {
    const size = encoder.encode(JSON.stringify(text)).length + 1;
    if (batch.length === BATCH_TEXTS || (batch.length && bytes + size > BATCH_BYTES)) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(text);
    bytes += size;
  }
  yield batch;
}

function showProgress(done, all) {
  $("progress").max = all;
  $("progress").value = done;
  $("progress-text").textContent = `${done} of ${all}`;
}

function showError(error) {
  $("many-error").hidden = !error;
  $("many-error").textContent = error ? error.message : "";
}

function showResults() {
  const counts = new Map();
  for (const { label } of results) counts.set(label, (counts.get(label) ?? 0) + 1);
  const sorted = [...counts].sort((a, b) => b[1] - a[1]);
  const noun = results.length === 1 ? "message" : "messages";
  const parts = sorted.map(([label, count]) => `${count} ${label}`).join(", ");
  $("summary").textContent = `${results.length} ${noun}: ${parts}`;
  $("results").hidden = false;
  fill(results);
}

function download() {
  const labels = Object.keys(results[0].probs);
  const rows = results.map((result) => rowOf(result, labels));
  const blob = new Blob([format([head(labels), ...rows])], { type: "text/csv" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = "labels.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
