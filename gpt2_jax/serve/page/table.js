// The table of results: sorting, and no more rows in the page than one looks at.

import { NONE, percent } from "/options.js";

const SHOWN = 200;

const $ = (id) => document.getElementById(id);
let rows = [];
let shown = SHOWN;
let key = "index";
let direction = 1;

for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    direction = button.dataset.key === key ? -direction : 1;
    key = button.dataset.key;
    sort();
  });
}
$("more").addEventListener("click", () => {
  shown += SHOWN;
  draw();
});

export function fill(results) {
  rows = [...results];
  shown = SHOWN;
  sort();
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
  const order =
    typeof rows[0]?.[key] === "number"
      ? (a, b) => a[key] - b[key]
      : (a, b) => compare(a[key] ?? "", b[key] ?? "");
  rows.sort((a, b) => direction * order(a, b) || a.index - b.index);
  for (const button of document.querySelectorAll("th button")) {
    const cell = button.closest("th");
    if (button.dataset.key !== key) cell.removeAttribute("aria-sort");
    else cell.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
  }
  draw();
}

function draw() {
  $("rows").replaceChildren(...rows.slice(0, shown).map(line));
  $("more").hidden = rows.length <= shown;
}

function line({ index, label, prob, text, n_tokens, truncated }) {
  const row = document.createElement("tr");
  const shownText = truncated ? `${text.slice(0, 400)} … (only its beginning was read)` : text;
  for (const value of [index, label ?? NONE, percent(prob), shownText]) {
    const cell = document.createElement("td");
    cell.textContent = value;
    row.append(cell);
  }
  row.children[1].className = label === null ? "label none" : "label";
  row.children[3].dir = "auto";
  if (!n_tokens) row.children[3].className = "empty";
  return row;
}
