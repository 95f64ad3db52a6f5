// The page of a claw's files: new, rename, move, copy, delete, restore; and uploads that resume (tus, vendor/tus).
//
//   POST <api>/new|move|copy|trash     409 with code "exists" is asked about: replace, keep both, or leave it
//   POST <api>/upload, PATCH ...       parts of 8 MiB; a file that is chosen again goes on where its upload ended

const { $, $$, element, icon, toast, ask, goToLogin, word, language, send } = window.clawportal;

const PART = 8 * 1024 * 1024;
const RETRIES = [0, 1000, 3000, 5000, 10000, 20000];
const box = () => $("#files");
const words = () => JSON.parse(box().dataset.words);
const say = (key, values = {}) => (words()[key] ?? key).replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);
const refresh = () => window.htmx.ajax("GET", location.pathname + location.search, { target: "#files", swap: "outerHTML" });

// ---------------------------------------------------------------- asking

/** Ask for a name or a place; null when it was called off. `check` gives what is wrong with it. */
function askName({ title, label, value, ok, check = () => "" }) {
  const dialog = $("#file-name");
  const field = $("#file-name-value");
  const error = $("#file-name-error");
  $("#file-name-title").textContent = title;
  $("label", dialog).textContent = label;
  $("[data-ok]", dialog).textContent = ok;
  field.value = value;
  error.textContent = "";
  dialog.returnValue = "";
  dialog.showModal();
  const from = value.lastIndexOf("/") + 1;
  const dot = value.lastIndexOf(".");
  field.focus();
  field.setSelectionRange(from, dot > from ? dot : value.length);
  return new Promise((resolve) => {
    const form = $("form", dialog);
    form.onsubmit = (event) => {
      const wrong = field.value.trim() ? check(field.value) : say("empty");
      error.textContent = wrong;
      field.toggleAttribute("aria-invalid", Boolean(wrong));
      if (wrong) event.preventDefault();
    };
    $("[data-close]", dialog).onclick = () => dialog.close("");
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "ok" ? field.value : null), { once: true });
  });
}

/** What to do where a name is taken: "replace", "keep-both", or "" for nothing. `several`: whether others follow that may be, too. */
function askTaken(name, text, several = false) {
  const dialog = $("#file-taken");
  $("[data-for-all]", dialog).hidden = !several;
  $("#file-taken-all").checked = false;
  $("#file-taken-title").textContent = say("taken", { name });
  $("#file-taken-text").textContent = text;
  dialog.returnValue = "";
  dialog.showModal();
  $('[value="keep-both"]', dialog).focus();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true }));
}

// ---------------------------------------------------------------- changing

async function call(method, tail, body) {
  const options = { method, headers: { Accept: "application/json" } };
  if (body !== undefined) { options.body = JSON.stringify(body); options.headers["Content-Type"] = "application/json"; }
  let answer;
  try {
    answer = await send(box().dataset.api + tail, options);
  } catch {
    return { text: word("no_answer") };
  }
  if (answer.status === 401) goToLogin();
  const document = answer.status === 204 ? {} : await answer.json().catch(() => ({}));
  return answer.ok ? { ok: true, document } : { code: document.code, text: told(document, answer.status) };
}

const told = (problem, status) => problem.detail || problem.title || `${word("failed")} (${status})`;

/** Do it; where a name is taken, ask what then. */
async function change(tail, body, name) {
  let answer = await call("POST", tail, body);
  if (answer.code === "exists" && tail !== "/new") {
    const taken = await askTaken(name, say("taken_trash"));
    if (!taken) return false;
    answer = await call("POST", tail, { ...body, taken });
  }
  if (!answer.ok) toast(answer.text, "bad");
  else await refresh();
  return answer.ok;
}

// Scripts of one page share a name instead of importing each other: each is fetched by the hash of its content.
window.claw_files = { askName, askTaken, call, say, refresh };

const last = (path) => path.slice(path.lastIndexOf("/") + 1);
const above = (path) => path.slice(0, path.lastIndexOf("/"));
const plain = (text) => (text.includes("/") ? say("slash") : "");

async function make(kind, title) {
  const name = await askName({ title, label: say("name"), value: "", ok: say("make"), check: plain });
  if (name !== null) await change("/new", { path: `${box().dataset.folder}/${name}`, kind }, name);
}

const actions = {
  "new-folder": () => make("folder", say("new_folder")),
  "new-file": () => make("file", say("new_file")),
  async rename({ path, name }) {
    const fresh = await askName({ title: say("rename", { name }), label: say("name"), value: name, ok: say("do_rename"), check: plain });
    if (fresh !== null && fresh !== name) await change("/move", { path, target: `${above(path)}/${fresh}` }, fresh);
  },
  async move({ path, name }) {
    const target = await askName({ title: say("move", { name }), label: say("where"), value: path, ok: say("do_move") });
    if (target !== null && target !== path) await change("/move", { path, target }, last(target));
  },
  async copy({ path, name }) {
    const target = await askName({ title: say("copy", { name }), label: say("where"), value: path, ok: say("do_copy") });
    if (target !== null) await change("/copy", { path, target }, last(target));
  },
  async delete({ path, name }) {
    if (!(await ask({ title: say("delete", { name }), text: say("delete_text"), ok: say("do_delete"), tone: "bad" }))) return;
    if (await change("/trash", { path }, name)) toast(say("deleted", { name }), "ok");
  },
  async restore({ item, name }) {
    if (await change(`/trash/${item}/restore`, {}, last(name))) toast(say("restored"), "ok");
  },
  async purge({ item, name }) {
    if (await ask({ title: say("purge", { name }), text: say("purge_text"), ok: say("do_purge"), tone: "bad" })) await gone(`/trash/${item}`);
  },
  async "empty-trash"() {
    if (await ask({ title: say("empty_trash"), text: say("purge_text"), ok: say("do_empty"), tone: "bad" })) await gone("/trash");
  },
};

async function gone(tail) {
  const answer = await call("DELETE", tail);
  if (answer.ok) await refresh();
  else toast(answer.text, "bad");
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  if (button) actions[button.dataset.do](button.closest("tr")?.dataset ?? {});
  if (event.target.closest("[data-choose]")) $("[data-upload]", box()).click();
});

// F2 and Delete in the row that has the focus, or where j and k stand.
document.addEventListener("keydown", (event) => {
  if (!["F2", "Delete"].includes(event.key) || $("dialog[open]") || event.target.closest("input, textarea")) return;
  if (event.key === "Delete" && $("#bulk:not([hidden])")) return;     // several.js
  const row = event.target.closest("tr[data-mine]") ?? $("#files tr.cursor[data-mine]");
  if (!row) return;
  event.preventDefault();
  actions[event.key === "F2" ? "rename" : "delete"](row.dataset);
});

// ---------------------------------------------------------------- uploading

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
  const most = Number(box().dataset.limit);
  for (const file of files) {
    if (file.size > most) toast(say("too_large", { name: file.name, size: size(most) }), "bad");
    else waiting.push({ file, folder });
  }
  if (!busy) work();
}

async function work() {
  busy = true;
  let done = 0;
  while (waiting.length) {
    const { file, folder } = waiting.shift();
    const there = box().dataset.folder === folder && $$("[data-name]", box()).some((row) => row.dataset.name === file.name);
    let answer = there ? { code: "exists" } : await put(file, folder, "refuse");
    if (answer.code === "exists") {
      const taken = await askTaken(file.name, say("taken_upload"));
      if (!taken) continue;
      answer = await put(file, folder, taken);
    }
    if (answer.ok) { done += 1; toast(say("uploaded", { name: file.name }), "ok"); }
    else toast(answer.text, answer.code === "cancelled" ? "warn" : "bad");
  }
  busy = false;
  if (done) await refresh();
}

/** A line with progress, pause and cancel. */
function lineOf(name) {
  const bar = element("progress", { class: "bar tone-busy", max: 100, value: 0, "aria-label": say("uploading", { name }) });
  const share = element("span", { class: "num faint" });
  const pause = element("button", { type: "button", class: "btn btn-quiet btn-sm square", "data-pause": true, "aria-label": say("pause"), title: say("pause") }, icon("player-pause"));
  const cancel = element("button", { type: "button", class: "btn btn-quiet btn-sm square", "aria-label": say("cancel"), title: say("cancel") }, icon("x"));
  const line = element("div", { class: "upload small" }, element("span", { class: "clip" }, say("uploading", { name })), share, bar, element("span", {}, pause, cancel));
  $("#file-uploads").append(line);
  return { line, bar, share, pause, cancel };
}

function put(file, folder, taken) {
  const path = `${folder}/${file.name}`;
  const { line, bar, share, pause, cancel } = lineOf(file.name);
  return new Promise((resolve) => {
    const end = (answer) => { line.remove(); resolve(answer); };
    const upload = new window.tus.Upload(file, {
      endpoint: `${box().dataset.api}/upload`,
      metadata: { path, taken },
      chunkSize: PART,
      retryDelays: RETRIES,
      removeFingerprintOnSuccess: true,
      fingerprint: async () => ["clawportal", box().dataset.api, path, taken, file.size, file.lastModified].join("|"),
      onBeforeRequest: (request) => request.setHeader("X-CSRFToken", $('meta[name="csrf-token"]').content),
      onShouldRetry: (error) => again(error.originalResponse),
      onProgress: (sent, total) => {
        bar.value = total ? (100 * sent) / total : 100;
        share.textContent = `${Math.floor(bar.value)} %`;
      },
      onSuccess: () => end({ ok: true }),
      onError: (error) => end(outcome(error.originalResponse, file)),
    });
    let running = true;
    pause.addEventListener("click", async () => {
      running = !running;
      const title = say(running ? "pause" : "go_on");
      pause.replaceChildren(icon(running ? "player-pause" : "player-play"));
      pause.setAttribute("aria-label", title);
      pause.title = title;
      if (running) upload.start();
      else await upload.abort();
    });
    cancel.addEventListener("click", async () => {
      await upload.abort(true).catch(() => {});             // what nobody could tell the portal is swept there
      end({ code: "cancelled", text: say("cancelled", { name: file.name }) });
    });
    upload.findPreviousUploads().then((found) => {
      if (found.length) upload.resumeFromPreviousUpload(found[0]);
      upload.start();
    });
  });
}

/** Whether it may go on by itself: what was refused will not. */
function again(response) {
  const status = response?.getStatus() ?? 0;
  if (status === 409) return problemOf(response).code !== "exists";
  return !status || status >= 500 && status !== 507 || status === 423 || status === 429;
}

function problemOf(response) {
  try { return JSON.parse(response.getBody()); } catch { return {}; }
}

function outcome(response, file) {
  const status = response?.getStatus() ?? 0;
  if (!status) return { code: "cut", text: say("cut", { name: file.name }) };
  if (status === 401) goToLogin();
  const problem = problemOf(response);
  return { code: problem.code, text: `${file.name}: ${told(problem, status)}` };
}

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
