// The question on the page as a command and as a program, to copy.

const $ = (id) => document.getElementById(id);

for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", () => copy($(button.dataset.copy)));
}

export function showProgram(text, abstain_below) {
  const url = new URL("v1/classify", document.baseURI).href;
  const asked = { texts: [text], ...(abstain_below ? { abstain_below } : {}) };
  const secret = $("token").value.trim() !== "";
  // A quote ends what the shell takes as it is.
  const shell = JSON.stringify(asked).replaceAll("'", "'\\''");
  const curl = [`curl '${url}'`, "-H 'content-type: application/json'"];
  if (secret) curl.push('-H "authorization: Bearer $GPT2_JAX_TOKEN"');
  $("curl").textContent = [...curl, `-d '${shell}'`].join(" \\\n    ");
  const headers = secret
    ? 'headers={"authorization": f"Bearer {os.environ[\'GPT2_JAX_TOKEN\']}"}'
    : "";
  $("python").textContent = [
    ...(secret ? ["import os", ""] : []),
    "import requests",
    "",
    "answer = requests.post(",
    `    ${JSON.stringify(url)},`,
    `    json=${JSON.stringify(asked)},`,
    ...(headers ? [`    ${headers},`] : []),
    ")",
    'print(answer.json()["results"])',
  ].join("\n");
  $("copied").textContent = "";
}

// Only pages of https and of this machine may write the clipboard; else one copies by hand.
async function copy(pre) {
  getSelection().selectAllChildren(pre);
  try {
    await navigator.clipboard.writeText(pre.textContent);
    $("copied").textContent = "Copied.";
  } catch {
    $("copied").textContent = "Selected: copy it with Ctrl+C.";
  }
}
