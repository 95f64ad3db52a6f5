// What somebody typed outlives a session that ends in the middle of a form, and an answer that is a page of its own.
//
// Kept in this tab only (sessionStorage), by path and by person, while pages follow that nobody chose: the sign-in, a problem
// (body[data-keeps-drafts]). Any other page drops it, and so does signing out. Never kept: passwords, keys, files, hidden fields.

const { $, $$, word, element, icon } = window.clawportal;
const KEY = "clawportal-drafts";
const LONGEST = 400_000;
const { actor, keepsDrafts } = document.body.dataset;
const path = location.pathname;

const touched = new Set();

function read() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY)) ?? {};
  } catch {
    return {};
  }
}

function write(drafts) {
  try {
    if (Object.keys(drafts).length) sessionStorage.setItem(KEY, JSON.stringify(drafts));
    else sessionStorage.removeItem(KEY);
  } catch { /* full, or not allowed here: then nothing is kept */ }
}

// ---- which forms and fields

const forms = () => $$("main form[method=post], main form[hx-post], main [data-draft]").filter((form) => !form.hasAttribute("data-no-draft"));
const nameOf = (form) => form.id || form.getAttribute("hx-post") || form.getAttribute("action") || "form";

/** A field that was shown in the clear for a moment is a secret all the same. */
function secret(field) {
  return field.type === "password" || field.matches("[data-secret], [autocomplete=one-time-code]") || field.name.startsWith("secrets.")
    || $(`[data-reveal="${CSS.escape(field.id || "-")}"]`) !== null;
}

function fields(form) {
  const kept = [...form.elements].filter((field) => field.matches("input, select, textarea") && !secret(field)
    && !["hidden", "file", "submit", "button"].includes(field.type));
  return kept.filter((field) => field.name || field.id);
}

const choice = (field) => field.type === "checkbox" || field.type === "radio";
const ticket = (field) => [field.name || field.id, choice(field) ? field.value : ""].join("\u0000");
const value = (field) => (choice(field) ? field.checked : field.multiple ? [...field.selectedOptions].map((one) => one.value) : field.value);

function typed(form) {
  const seen = new Map();
  return fields(form).map((field) => {
    const name = ticket(field);
    seen.set(name, (seen.get(name) ?? -1) + 1);
    return [name, seen.get(name), value(field)];
  });
}

// ---- keeping

function keep() {
  const dirty = forms().filter((form) => touched.has(form));
  if (!dirty.length || !actor) return;
  const kept = Object.fromEntries(dirty.map((form) => [nameOf(form), typed(form)]));
  const drafts = { ...read(), [path]: { actor, forms: kept } };
  if (JSON.stringify(drafts).length < LONGEST) write(drafts);
}

document.addEventListener("input", (event) => { if (event.target.form) touched.add(event.target.form); });
document.addEventListener("change", (event) => { if (event.target.form) touched.add(event.target.form); });
addEventListener("pagehide", keep);
// What was stored is no draft any more, and whoever signs out leaves nothing behind.
document.addEventListener("htmx:afterRequest", (event) => {
  const form = event.detail.elt.closest?.("form");
  const away = new URL(event.detail.xhr?.getResponseHeader("HX-Redirect") || location.href, location.href);
  if (form && event.detail.successful && away.pathname !== new URL(document.body.dataset.loginUrl, location.href).pathname) touched.delete(form);
});
document.addEventListener("submit", (event) => {
  if (!event.target.matches("[data-forget-drafts]")) return;
  touched.clear();
  write({});
});

// ---- giving back

function give(form, wanted) {
  const seen = new Map();
  const left = new Map(wanted.map(([name, number, held]) => [`${name}\u0000${number}`, held]));
  const changed = [];
  for (const field of fields(form)) {
    const name = ticket(field);
    seen.set(name, (seen.get(name) ?? -1) + 1);
    const key = `${name}\u0000${seen.get(name)}`;
    if (!left.has(key)) continue;
    const held = left.get(key);
    left.delete(key);
    if (JSON.stringify(value(field)) === JSON.stringify(held)) continue;
    if (choice(field)) field.checked = held;
    else if (field.multiple) for (const one of field.options) one.selected = held.includes(one.value);
    else field.value = held;
    if (!choice(field) || held) changed.push(field);
  }
  for (const field of changed) {
    touched.add(form);
    field.closest("details.fold")?.setAttribute("open", "");
    for (const kind of ["input", "change"]) field.dispatchEvent(new Event(kind, { bubbles: true }));
  }
  return { changed: changed.length, left: wanted.filter(([name, number]) => left.has(`${name}\u0000${number}`)) };
}

function restore(draft) {
  const open = new Map();
  let given = 0;
  for (const form of forms()) {
    const wanted = draft.forms[nameOf(form)];
    if (!wanted) continue;
    const { changed, left } = give(form, wanted);
    given += changed;
    if (left.length) open.set(form, left);
  }
  if (given) say();
  if (!open.size) return;
  // some fields come only after another was chosen, such as the settings of a kind of claw
  const late = (event) => {
    for (const [form, left] of open) {
      if (!form.isConnected) { open.delete(form); continue; }
      const again = give(form, left);
      if (again.left.length) open.set(form, again.left); else open.delete(form);
    }
    if (!open.size || event.timeStamp > until) document.removeEventListener("htmx:afterSettle", late);
  };
  const until = performance.now() + 20_000;
  document.addEventListener("htmx:afterSettle", late);
}

function say() {
  const close = element("button", { type: "button", class: "btn btn-quiet btn-sm square close", "aria-label": word("close"), "data-dismiss": true }, icon("x"));
  const note = element("div", { class: "note tone-busy", role: "status", "data-draft-back": true }, icon("info-circle"),
    element("div", { class: "body" }, element("b", {}, word("draft_back")), element("div", {}, word("draft_secrets"))), close);
  $("#notices")?.append(note);
}

const drafts = read();
if (keepsDrafts !== undefined) {
  for (const draft of Object.values(drafts)) draft.kept = true;
  if (Object.keys(drafts).length) for (const told of $$("[data-draft-kept]")) told.hidden = false;
} else {
  const mine = drafts[path];
  // htmx and the page's own scripts have to listen by then: some fields come only after another was chosen
  if (mine?.kept && mine.actor === actor) addEventListener("load", () => restore(mine), { once: true });
  // a page that somebody chose: what belongs elsewhere is given up, but for one page that the sign-in may have led to
  for (const [where, draft] of Object.entries(drafts)) {
    if (where === path || !draft.kept || draft.actor !== actor || draft.passed) delete drafts[where];
    else draft.passed = true;
  }
}
write(drafts);
