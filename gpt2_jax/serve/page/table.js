// The table of results: sorting, and no more rows in the page than one looks at.

import { NONE, percent } from "./options.js";

const SHOWN = 200;
const MAX_COLUMNS = 8; // of so many classes each has one

const $ = (id) => document.getElementById(id);
let rows = [];
let shown = SHOWN;
let key = "index";
let direction = 1;
let labels = []; // that have a column each

$("head").addEventListener("click", ({ target }) => {
  if (!target.dataset.key) return;
  // Of a probability one looks for the highest.
  const first = target.dataset.key.startsWith("p_") ? -1 : 1;
  direction = target.dataset.key === key ? -direction : first;
  key = target.dataset.key;
  sort();
});
$("only").addEventListener("change", () => {
  shown = SHOWN;
  draw();
});
$("more").addEventListener("click", () => {
  shown += SHOWN;
  draw();
});

export function fill(results) {
  rows = [...results];
  shown = SHOWN;
  showLabels(Object.keys(results[0].probs));
  sort();
}

function showLabels(all) {
  labels = all.length > MAX_COLUMNS ? [] : all;
  for (const old of document.querySelectorAll("th.class")) old.remove();
  $("head").append(...labels.map(classColumn));
  if (key.startsWith("p_") && !labels.includes(key.slice(2))) key = "index";
  const given = new Set(rows.map(({ label }) => label ?? NONE));
  const options = [NONE, ...all].filter((name) => given.has(name));
  const before = $("only").value;
  $("only").replaceChildren(new Option("all labels", ""), ...options.map((name) => new Option(name, name)));
  $("only").value = given.has(before) ? before : "";
}

function classColumn(label) {
  const cell = document.createElement("th");
  cell.scope = "col";
  cell.className = "class";
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.key = `p_${label}`;
  button.textContent = label;
  button.title = `Probability of ${label}`;
  cell.append(button);
  return cell;
}

// All columns of the input, and the answer beside them, as `format=csv` writes them.
export function csvOf(results) {
  const columns = [...new Set(results.flatMap(({ row }) => Object.keys(row)))];
  const labels = Object.keys(results[0].probs);
  const named = (name) => (columns.includes(name) ? named(`predicted_${name}`) : name);
  const probs = labels.map((label) => `p_${label}`);
  const answer = ["label", "prob", ...probs, "n_tokens", "truncated"].map(named);
  const rows = results.map((result) => [
    ...columns.map((name) => cell(result.row[name])),
    result.label ?? "",
    result.prob.toFixed(6),
    ...labels.map((label) => result.probs[label].toFixed(6)),
    result.n_tokens,
    result.truncated,
  ]);
  return [[...columns, ...answer], ...rows].map(csvLine).join("");
}

function cell(value) {
  if (value === null || value === undefined) return "";
  return typeof value === "string" ? value : JSON.stringify(value);
}

// A cell that a spreadsheet would compute gets an apostrophe in front.
function csvLine(cells) {
  const harmless = cells.map((value) => String(value).replace(/^[=+\-@\t\r]/, "'$&"));
  const quote = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  return `${harmless.map(quote).join(",")}\r\n`;
}

function sort() {
  const compare = new Intl.Collator().compare;
  const value = (row) => (key.startsWith("p_") ? row.probs[key.slice(2)] : row[key]);
  const order =
    typeof value(rows[0]) === "number"
      ? (a, b) => value(a) - value(b)
      : (a, b) => compare(value(a) ?? "", value(b) ?? "");
  rows.sort((a, b) => direction * order(a, b) || a.index - b.index);
  for (const button of document.querySelectorAll("th button")) {
    const cell = button.closest("th");
    if (button.dataset.key !== key) cell.removeAttribute("aria-sort");
    else cell.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
  }
  draw();
}

function draw() {
  const only = $("only").value;
  const chosen = only ? rows.filter(({ label }) => (label ?? NONE) === only) : rows;
  $("rows").replaceChildren(...chosen.slice(0, shown).map(line));
  $("more").hidden = chosen.length <= shown;
}

function line({ index, label, prob, probs, text, n_tokens, truncated }) {
  const row = document.createElement("tr");
  const shownText = truncated ? `${text.slice(0, 400)} … (only its beginning was read)` : text;
  const each = labels.map((name) => percent(probs[name]));
  for (const value of [index, label ?? NONE, percent(prob), shownText, ...each]) {
    const cell = document.createElement("td");
    cell.textContent = value;
    row.append(cell);
  }
  row.children[1].className = label === null ? "label none" : "label";
  row.children[3].dir = "auto";
  row.children[3].className = n_tokens ? "text" : "text empty";
  return row;
}
