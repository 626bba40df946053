// Tabs, the state of the service, and the access token.

import { isReady, setToken } from "./api.js";
import { offerExamples, refresh } from "./one.js";
import { openFile } from "./many.js";

const $ = (id) => document.getElementById(id);
const tabs = [...document.querySelectorAll('[role="tab"]')];

function select(tab) {
  for (const other of tabs) {
    const chosen = other === tab;
    other.setAttribute("aria-selected", String(chosen));
    other.tabIndex = chosen ? 0 : -1;
    $(other.getAttribute("aria-controls")).hidden = !chosen;
  }
}

for (const tab of tabs) {
  tab.addEventListener("click", () => select(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
    select(next);
    next.focus();
  });
}

async function watchState() {
  let wait = 15000;
  let [text, name] = ["Ready", "ready"];
  try {
    if (!(await isReady())) [text, name, wait] = ["Warming up", "", 1000];
  } catch {
    [text, name, wait] = ["Not reachable", "down", 3000];
  }
  if ($("state").textContent !== text) $("state").textContent = text;
  $("state").className = name;
  setTimeout(watchState, wait);
}

document.addEventListener("token-needed", () => {
  $("access").hidden = false;
});
$("access").addEventListener("submit", (event) => {
  event.preventDefault();
  setToken($("token").value.trim());
  $("access").hidden = true;
  $("message").focus();
  refresh();
  offerExamples();
});

addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  const [file] = event.dataTransfer.files;
  if (!file) return;
  select($("tab-many"));
  openFile(file);
});

watchState();
offerExamples();
