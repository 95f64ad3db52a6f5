// Uploads into a folder of a claw: one file after the other, with progress, and never over a file without asking.
//
//   PUT <data-url>PATH&overwrite=false   the file itself -> 201, or 409 with code "exists"
//
// XMLHttpRequest, because fetch() tells nothing while it sends.

const { $, $$, element, icon, toast, ask, goToLogin, word, language } = window.clawportal;

const box = () => $("#files");
const words = JSON.parse(box().dataset.words);
const say = (key, values = {}) => words[key].replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);
const waiting = [];
let busy = false;

function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let k = 0;
  while (bytes >= 1024 && k < units.length - 1) { bytes /= 1024; k += 1; }
  return `${bytes.toLocaleString(language, { maximumFractionDigits: bytes < 10 && k ? 1 : 0 })} ${units[k]}`;
}

function add(files) {
  const folder = box().dataset.folder;
  if (!folder) return;
  for (const file of files) {
    if (file.size > Number(box().dataset.limit)) toast(say("too_large", { name: file.name, size: size(Number(box().dataset.limit)) }), "bad");
    else waiting.push({ file, folder });
  }
  if (!busy) work();
}

async function work() {
  busy = true;
  let done = 0;
  while (waiting.length) {
    const { file, folder } = waiting.shift();
    const there = $$("[data-name]", box()).some((row) => row.dataset.name === file.name) && box().dataset.folder === folder;
    if (there && !(await replace(file.name))) continue;
    let answer = await put(file, folder, there);
    if (answer.code === "exists" && (await replace(file.name))) answer = await put(file, folder, true);
    if (answer.ok) { done += 1; toast(say("uploaded", { name: file.name }), "ok"); }
    else if (answer.code !== "exists") toast(answer.text, answer.code === "cancelled" ? "warn" : "bad");
  }
  busy = false;
  if (done) window.htmx.ajax("GET", location.pathname + location.search, { target: "#files", swap: "outerHTML" });
}

const replace = (name) => ask({ title: say("replace", { name }), text: say("replace_text"), ok: say("replace_ok"), tone: "bad" });

function put(file, folder, overwrite) {
  const bar = element("progress", { class: "bar tone-busy", max: 100, value: 0, "aria-label": say("uploading", { name: file.name }) });
  const cancel = element("button", { type: "button", class: "btn btn-quiet btn-sm square", "aria-label": say("cancel") }, icon("x"));
  const share = element("span", { class: "num faint" });
  const line = element("div", { class: "upload small" }, element("span", { class: "clip" }, say("uploading", { name: file.name })), share, bar, cancel);
  $("[data-progress]", box()).append(line);
  const request = new XMLHttpRequest();
  cancel.addEventListener("click", () => request.abort());
  request.upload.addEventListener("progress", (event) => {
    if (!event.lengthComputable || !event.total) return;
    bar.value = (100 * event.loaded) / event.total;
    share.textContent = `${Math.floor(bar.value)} %`;
  });
  return new Promise((resolve) => {
    request.addEventListener("loadend", () => { line.remove(); resolve(outcome(request, file)); });
    request.addEventListener("abort", () => { request.cancelled = true; });
    request.open("PUT", `${box().dataset.url}${encodeURIComponent(`${folder}/${file.name}`)}&overwrite=${overwrite}`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.setRequestHeader("X-CSRFToken", $('meta[name="csrf-token"]').content);
    request.send(file);
  });
}

function outcome(request, file) {
  if (request.status >= 200 && request.status < 300) return { ok: true };
  if (request.cancelled) return { code: "cancelled", text: say("cancelled", { name: file.name }) };
  if (!request.status) return { code: "cut", text: say("cut", { name: file.name }) };
  if (request.status === 401) goToLogin();
  try {
    const problem = JSON.parse(request.responseText);
    return { code: problem.code, text: `${file.name}: ${problem.detail || problem.title}` };
  } catch {
    return { code: "failed", text: `${file.name}: ${word("failed")} (${request.status})` };
  }
}

document.addEventListener("click", (event) => { if (event.target.closest("[data-choose]")) $("[data-upload]", box()).click(); });
document.addEventListener("change", (event) => {
  if (!event.target.matches("[data-upload]")) return;
  add([...event.target.files]);
  event.target.value = "";
});
document.addEventListener("dragover", (event) => {
  if (!box().dataset.folder || !event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault();
  box().classList.add("dropping");
});
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) box().classList.remove("dropping"); });
document.addEventListener("drop", (event) => {
  if (!box().dataset.folder) return;
  event.preventDefault();
  box().classList.remove("dropping");
  add([...event.dataTransfer.files].filter((file) => file.size || file.type));     // a folder that was dropped cannot be read
});
addEventListener("beforeunload", (event) => { if (busy) event.preventDefault(); });
