// The table of results: sorting, and no more rows in the page than one looks at.

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

export const head = (labels) => [
  "text",
  "label",
  "prob",
  ...labels.map((name) => `p_${name}`),
  "n_tokens",
  "truncated",
];

export const rowOf = (result, labels) => [
  result.text,
  result.label,
  result.prob.toFixed(6),
  ...labels.map((name) => result.probs[name].toFixed(6)),
  result.n_tokens,
  result.truncated,
];

function sort() {
  const compare = new Intl.Collator().compare;
  const order = {
    number: (a, b) => a[key] - b[key],
    string: (a, b) => compare(a[key], b[key]),
  }[typeof rows[0]?.[key]];
  if (order) rows.sort((a, b) => direction * order(a, b) || a.index - b.index);
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

function line({ index, label, prob, text, truncated }) {
  const row = document.createElement("tr");
  const shownText = truncated ? `${text.slice(0, 400)} … (only its beginning was read)` : text;
  for (const value of [index, label, `${(100 * prob).toFixed(1)}%`, shownText]) {
    const cell = document.createElement("td");
    cell.textContent = value;
    row.append(cell);
  }
  row.children[1].className = "label";
  row.children[3].dir = "auto";
  return row;
}
