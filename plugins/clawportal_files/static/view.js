// One file in the editor: saved only over what was read. Where somebody changed it meanwhile, both are shown and nothing is lost.
//
//   PUT <api>/PATH   If-Match: "tag" -> {etag}, or 412 where the file is another one by now

const { $, $$, toast, goToLogin, word, send } = window.clawportal;

const box = $("#file");
const words = JSON.parse(box.dataset.words);
const say = (key, values = {}) => words[key].replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);
const { path, api } = box.dataset;
const writable = "writable" in box.dataset;
const first = JSON.parse($("#file-content").textContent);
const dark = () => document.documentElement.dataset.bsTheme === "dark";
let tag = box.dataset.tag;
let saved = first;
let theirs = null;

const { edit } = await import(new URL($("#view-script").dataset.editor, location.href));
const editor = edit($("#editor"), { text: first, name: path, dark: dark(), readOnly: !writable, label: say("editor", { name: path }), onChange: mark });
$("#file-text").hidden = true;
new MutationObserver(() => editor.dark(dark())).observe(document.documentElement, { attributeFilter: ["data-bs-theme"] });

// Markdown as it reads, made of what is in the editor.
const reading = $("#reading");
function look(how) {
  const read = how === "read";
  if (read) reading.replaceChildren(window.clawportal.markdown(editor.text()));
  reading.hidden = !read;
  $("#writing").hidden = read;
  for (const button of $$("[data-view]", box)) button.setAttribute("aria-checked", button.dataset.view === how);
}
if (reading) {
  $("[data-views]", box).hidden = false;
  look("read");
}

const changed = () => writable && editor.text() !== saved;
function mark() { $("[data-state]", box).textContent = changed() ? say("unsaved") : ""; }

const address = (name) => `${api}/${name.split("/").map(encodeURIComponent).join("/")}`;

async function put(name, headers) {
  const text = editor.text();
  const answer = await send(address(name), { method: "PUT", body: new Blob([text]), headers: { "Content-Type": "application/octet-stream", Accept: "application/json", ...headers } }).catch(() => null);
  if (!answer) return { status: 0, text: word("no_answer") };
  if (answer.status === 401) goToLogin();
  const document = await answer.json().catch(() => ({}));
  return { status: answer.status, ok: answer.ok, sent: text, document, code: document.code, text: document.detail || document.title || word("failed") };
}

async function save() {
  if (!writable) return;
  done(await put(path, tag ? { "If-Match": `"${tag}"` } : { "If-None-Match": "*" }));
}

async function done(answer) {
  if (answer.ok) {
    tag = answer.document.etag;
    saved = answer.sent;
    $("#conflict").hidden = true;
    mark();
    toast(say("saved"), "ok");
  } else if (answer.status === 412 || answer.code === "exists") await conflict();
  else toast(answer.text, "bad");
}

async function conflict() {
  const answer = await send(address(path));
  theirs = answer.ok ? { text: await answer.text(), tag: answer.headers.get("ETag").replaceAll('"', "") } : null;
  $(".theirs").textContent = theirs ? theirs.text : say("theirs_gone");
  $('[data-keep="theirs"]').hidden = !theirs;
  $("#conflict").hidden = false;
  $("#conflict").scrollIntoView({ block: "nearest" });
  $('[data-keep="both"]').focus();
}

/** `name (2).txt`, and further while these are taken. */
async function beside() {
  const folder = path.slice(0, path.lastIndexOf("/") + 1);
  const name = path.slice(folder.length);
  const dot = name.lastIndexOf(".") > 0 ? name.lastIndexOf(".") : name.length;
  for (let number = 2; number < 100; number += 1) {
    const fresh = `${folder}${name.slice(0, dot)} (${number})${name.slice(dot)}`;
    const answer = await put(fresh, { "If-None-Match": "*" });
    if (answer.code === "exists") continue;
    if (!answer.ok) return toast(answer.text, "bad");
    saved = editor.text();
    return location.assign(`${location.pathname}?path=${encodeURIComponent(fresh)}`);
  }
}

const keep = {
  both: beside,
  theirs() { editor.set(theirs.text); saved = theirs.text; tag = theirs.tag; $("#conflict").hidden = true; mark(); },
  async mine() { tag = theirs?.tag ?? ""; await save(); },
};

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-save]")) save();
  const choice = event.target.closest("[data-keep]");
  if (choice) keep[choice.dataset.keep]();
  const view = event.target.closest("[data-view]");
  if (view) look(view.dataset.view);
});
// What is typed in the editor is text: seen from outside of its shadow root, the letters would be shortcuts of the page.
$("#editor").addEventListener("keydown", (event) => { saves(event); event.stopPropagation(); });
document.addEventListener("keydown", saves);
function saves(event) {
  if (!(event.ctrlKey || event.metaKey) || event.key !== "s") return;
  event.preventDefault();
  save();
}
addEventListener("beforeunload", (event) => { if (changed() && !window.clawportal.leaving) event.preventDefault(); });
box.dataset.ready = "";
