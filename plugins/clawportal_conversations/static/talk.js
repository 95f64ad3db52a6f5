// A conversation with a claw. What was said is kept by the portal; this page shows it, says more, and follows what comes.
// The API is /api/v1/conversations (docs/conversations.md); the text of a claw is made part of the page by the portal's markdown.js alone.

const { $, $$, element, icon, send, toast, ask, goToLogin, setTimes } = window.clawportal;
const { said, Stream, Turn } = window.talk;

const box = $("#chat");
const scroll = $(".chat-scroll", box);
const form = $("form", box);
const field = $("textarea", form);
const { api, name } = box.dataset;
const me = document.body.dataset.actor;
const most = Number(box.dataset.most);
const turns = new Map();

let id = box.dataset.conversation;
let stream = null;
let older = null;
let editing = null;
let sending = false;
let files = [];

const address = () => `${api}/conversations/${id}`;
const refused = $("[data-refused]", box);

// ---------------------------------------------------------------- asking the portal

class Refused extends Error {}

async function call(method, url, body) {
  let answer;
  try {
    answer = await send(url, { method, ...(body && { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }) });
  } catch {
    throw new Refused(said("no_answer"));
  }
  if (answer.status === 401) goToLogin();
  if (answer.ok) return answer.status === 204 ? null : answer.json();
  let problem = {};
  try { problem = await answer.json(); } catch { /* no words came with it */ }
  throw new Refused(problem.detail || problem.title || `${said("no_answer")} (${answer.status})`);
}

/** What was refused stands above the field; nothing that was typed is lost. */
function tell(text) {
  refused.replaceChildren(icon("alert-triangle"), element("div", { class: "body" }, text));
  refused.hidden = !text;
}

// ---------------------------------------------------------------- what is shown

const atEnd = () => scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 80;
const toEnd = () => { scroll.scrollTop = scroll.scrollHeight; };
const newest = () => [...turns.values()].at(-1);
const live = () => [...turns.values()].find((turn) => turn.live);

function put(message, before = null) {
  const known = turns.get(message.id);
  if (known) return known;
  const pictures = (path) => `${address()}/messages/${message.id}/picture?path=${encodeURIComponent(path)}`;
  const turn = new Turn(message, name, message.user_id === me, pictures);
  let wasAtEnd = true;
  turn.drawn = () => { if (wasAtEnd) toEnd(); wasAtEnd = atEnd(); };
  scroll.addEventListener("scroll", () => { wasAtEnd = atEnd(); }, { passive: true });
  turns.set(message.id, turn);
  if (before) before.before(turn.row);
  else scroll.append(turn.row);
  return turn;
}

async function load() {
  const page = await call("GET", `${address()}/messages?limit=50`);
  for (const turn of turns.values()) turn.row.remove();
  turns.clear();
  for (const message of page.items) put(message);
  more(page);
  toEnd();
  state();
  return page.event;
}

function more(page) {
  older = page.older;
  $("[data-older]", box).hidden = older == null;
}

async function loadOlder() {
  const page = await call("GET", `${address()}/messages?limit=50&before=${older}`);
  const first = $(".turn", scroll), from = scroll.scrollHeight - scroll.scrollTop;
  for (const message of page.items) put(message, first);
  const inOrder = [...turns.values()].sort((a, b) => a.message.position - b.message.position);
  turns.clear();
  for (const turn of inOrder) turns.set(turn.message.id, turn);
  more(page);
  scroll.scrollTop = scroll.scrollHeight - from;
}

function hear(kind, number, data) {
  const end = atEnd();
  if (kind === "message") put(data);
  else if (kind === "ended") ended(data);
  else if (kind === "replaced") drop(data.from);
  else if (kind === "changed") renew();
  else if (kind === "reset") load().catch((error) => tell(error.message));
  else turns.get(data.message_id)?.more(kind, data);
  if (end && kind !== "delta") toEnd();
  state();
}

function ended(message) {
  put(message).become(message);
  $("[data-said]", box).textContent = message.text || message.reason || "";     // read out once, when it is whole
}

function drop(from) {
  for (const [key, turn] of turns) if (turn.message.position >= from) { turn.row.remove(); turns.delete(key); }
}

async function renew() {
  const found = await call("GET", address());
  $("[data-title]", box).textContent = found.title;
  $("[data-shared]", box).hidden = !found.shared;
  $("[data-share] span", box)?.replaceChildren(said(found.shared ? "unshare" : "share"));
  $("[data-archive] span", box)?.replaceChildren(said(found.archived ? "unarchive" : "archive"));
  const link = $(`.talk-list a[data-id="${id}"] b`);
  if (link) link.textContent = found.title;
  return found;
}

function state() {
  $("[data-chat-empty]", box).hidden = turns.size > 0;
  $("[data-stop]", form).hidden = !live();
  $("[data-send]", form).hidden = Boolean(live());
  $("[data-send]", form).disabled = sending || field.disabled || !(field.value.trim() || files.length);
}

function follow(after) {
  stream?.end();
  stream = new Stream(address(), after, hear, () => { tell(said("gone")); field.disabled = true; state(); });
}

// ---------------------------------------------------------------- saying something

async function begin() {
  const made = await call("POST", `${api}/conversations`, { instance: box.dataset.instanceId });
  id = box.dataset.conversation = made.id;
  const fresh = new URL($("[data-new]", box).href);
  history.replaceState(null, "", fresh.pathname.endsWith("/talk") ? `${fresh.pathname}/${id}` : `${fresh.pathname}?conversation=${id}`);
  $("[data-more]", box).hidden = false;
  exportsLead();
  return made.event;
}

// Whether the portal has it is not known where its answer is lost: the same words and files are sent again with the same key, and count once.
let unsure = null;

function keyOf(text, paths) {
  const what = JSON.stringify([id, text, paths]);
  if (unsure?.what !== what) unsure = { what, key: newKey() };
  return unsure.key;
}

const newKey = () => [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

async function say() {
  const text = field.value.trim();
  if (sending || live() || field.disabled || (!text && !files.length)) return;
  if (text.length > most) return tell(said("too_long", { n: text.length.toLocaleString(), most: most.toLocaleString() }));
  await sent(async () => {
    if (editing) return call("POST", `${address()}/messages/${editing}/edit`, { text });
    const first = id ? null : await begin();
    const paths = await uploaded();
    if (first != null) follow(first);
    return call("POST", `${address()}/messages`, { text: text || paths.join(", "), key: keyOf(text, paths), files: paths });
  }, () => { unsure = null; field.value = ""; files = []; showFiles(); edit(null); });
}

/** While it is on its way nothing else is sent; what was typed stays in the field until the portal has it. */
async function sent(work, done) {
  sending = true;
  state();
  try {
    const told = await work();
    done();
    tell("");
    put(told.question);
    if (!stream) follow(told.event);
    toEnd();
    if (turns.size <= 2) renew().then(listed);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    tell(error.message);
  } finally {
    sending = false;
    state();
  }
}

function listed(found) {
  if ($(`.talk-list a[data-id="${id}"]`)) return;
  const link = element("a", { href: location.href, "aria-current": "page", "data-id": id }, element("b", { class: "clip" }, found.title), under(found));
  $(".talk-list a[aria-current]")?.removeAttribute("aria-current");
  $(".talk-list .talk-none")?.remove();
  $(".talk-list")?.prepend(link);
  setTimes(link);
}

/** As the page writes it below the name of each. */
function under(found) {
  const time = element("time", { datetime: found.spoken_at, "data-relative": true, class: "nowrap num" });
  return element("span", { class: "tiny faint clip" }, $(".talk-alone") ? `${found.instance} · ` : "", time);
}

function edit(turn) {
  editing = turn?.message.id ?? null;
  if (turn) { field.value = turn.message.text; field.focus(); }
  tell("");
  if (!editing) return state();
  refused.replaceChildren(icon("edit"), element("div", { class: "body" }, said("editing")), element("button", { type: "button", class: "btn btn-sm", "data-cancel": true }, said("cancel")));
  refused.hidden = false;
  state();
}

const retry = (turn) => sent(() => call("POST", `${address()}/messages/${turn.message.id}/retry`), () => {});

// ---------------------------------------------------------------- files

function showFiles() {
  const chips = files.map((file, k) => element("span", { class: "chip" }, icon("paperclip"), file.name,
    element("button", { type: "button", class: "btn btn-quiet btn-sm square", "data-without": k, "aria-label": said("remove", { name: file.name }) }, icon("x", "ico-sm"))));
  $("[data-files]", box).replaceChildren(...chips);
  $("[data-files]", box).hidden = !files.length;
  state();
}

const there = new WeakMap();    // files that are uploaded, also of a message that did not get through: their paths

/** Those that are too large are told at once, before a byte of them is sent. */
function attach(chosen) {
  const large = [...chosen].find((file) => file.size > Number(box.dataset.mostAttached) * 1e6);
  tell(large ? said("file_too_large", { name: large.name, n: box.dataset.mostAttached }) : "");
  files.push(...[...chosen].filter((file) => file.size <= Number(box.dataset.mostAttached) * 1e6));
  showFiles();
}

/** Into the work folder of the claw, beside those of this conversation; their paths. */
async function uploaded() {
  const paths = [];
  for (const file of files) {
    if (there.has(file)) { paths.push(there.get(file)); continue; }
    const answer = await send(`${address()}/files?name=${encodeURIComponent(file.name)}`, { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: file });
    if (!answer.ok) {
      const problem = await answer.json().catch(() => ({}));
      throw new Refused([said("upload_failed", { name: file.name }), problem.detail].filter(Boolean).join(" "));
    }
    const { path } = await answer.json();
    there.set(file, path);
    paths.push(path);
  }
  return paths;
}

// ---------------------------------------------------------------- what can be done with a conversation

function exportsLead() {
  for (const link of $$("[data-export]", box)) link.href = `${address()}/export?format=${link.dataset.export}`;
}

async function change(changes) {
  try {
    await call("PATCH", address(), changes);
    return await renew();
  } catch (error) {
    toast(error.message, "bad");
    return null;
  }
}

function rename() {
  const title = $("[data-title]", box);
  const input = element("input", { class: "form-control", value: title.textContent, maxlength: "200", "aria-label": said("rename") });
  title.hidden = true;
  title.after(input);
  input.focus();
  input.select();
  let done = false;
  const finish = async (keep) => {
    if (done) return;
    done = true;
    input.remove();
    title.hidden = false;
    if (keep && input.value.trim() !== title.textContent) await change({ title: input.value.trim() });
  };
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.isComposing) { event.preventDefault(); finish(true); }
    if (event.key === "Escape") finish(false);
  });
  input.addEventListener("blur", () => finish(true));
}

async function share() {
  const shared = !$("[data-shared]", box).hidden;
  if (!shared && !(await ask({ title: said("share_title"), text: said("share_text"), ok: said("share") }))) return;
  await change({ shared: !shared });
}

async function archive() {
  const found = await call("GET", address());
  if (await change({ archived: !found.archived }) && !found.archived) location.assign($("[data-new]", box).href);
}

async function remove() {
  if (!(await ask({ title: said("delete_title"), text: said("delete_text"), ok: said("delete"), tone: "bad" }))) return;
  stream?.end();
  await call("DELETE", address());
  location.assign($("[data-new]", box).href);
}

// ---------------------------------------------------------------- hands

const done = { edit, retry, copy: (turn) => copy(turn.message.text) };

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    toast(said("copied"), "ok");
  } catch {
    toast(window.clawportal.word("copy_failed"), "warn");
  }
}

form.addEventListener("submit", (event) => { event.preventDefault(); say(); });
field.addEventListener("keydown", (event) => {
  // isComposing: Enter that ends the input of a Chinese word is not "send".
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229) { event.preventDefault(); form.requestSubmit(); }
  else if (event.key === "ArrowUp" && !field.value && !live()) {
    const last = [...turns.values()].findLast((turn) => turn.mine && turn.message.role === "person");
    if (last) { event.preventDefault(); edit(last); }
  } else if (event.key === "Escape") {
    if (editing) { field.value = ""; edit(null); }
    else if (live()) call("POST", `${address()}/stop`);
  }
});
field.addEventListener("input", state);
$("[data-stop]", form).addEventListener("click", () => call("POST", `${address()}/stop`).catch((error) => tell(error.message)));
$("[data-older]", box).addEventListener("click", () => loadOlder().catch((error) => tell(error.message)));
$("[data-attach]", form)?.addEventListener("change", (event) => { attach(event.target.files); event.target.value = ""; });
box.addEventListener("paste", (event) => {
  if ($("[data-attach]", form) && event.clipboardData.files.length) attach(event.clipboardData.files);
});
for (const [what, work] of Object.entries({ rename, share, archive, delete: remove })) {
  $(`[data-${what}]`, box)?.addEventListener("click", () => { $("[data-more]", box).open = false; work(); });
}
box.addEventListener("click", (event) => {
  const { target } = event, turn = turns.get(target.closest(".turn")?.dataset.id);
  const example = target.closest("[data-example]");
  if (example && !field.disabled) { field.value = example.textContent.trim(); field.focus(); state(); }
  const what = target.closest("[data-do]")?.dataset.do;
  if (what && turn) done[what](turn);
  if (target.closest("[data-again]") && turn) retry(turn);
  if (target.closest("[data-cancel]")) { field.value = ""; edit(null); }
  const without = target.closest("[data-without]");
  if (without) { files.splice(Number(without.dataset.without), 1); showFiles(); }
});

// Whether one may talk is part of the live page: the claw may start or stop while the page is open.
function openOrClose() {
  field.disabled = $("#chat-closed", box).dataset.closed === "yes";
  state();
}
document.addEventListener("htmx:afterSettle", openOrClose);

if (id) {
  exportsLead();
  load().then(follow).catch((error) => tell(error.message));
}
openOrClose();
if (matchMedia("(min-width: 48rem)").matches) field.focus();
newest()?.row.scrollIntoView();
