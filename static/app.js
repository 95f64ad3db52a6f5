// What every page shares: words, requests, toasts, questions before an action, menus, times, tables, keyboard.
// Page scripts (static/js/*.js) are loaded after it and use window.clawportal; nothing here is inline or evaluated.

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const words = JSON.parse($("#words").textContent);

/** A word of the page's language, with `{name}` filled in. */
function word(key, values = {}) {
  return (words[key] ?? key).replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);
}

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

function icon(name, extra = "") {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", `ico ${extra}`);
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `${document.body.dataset.icons}#${name}`);
  svg.append(use);
  return svg;
}

// ---------------------------------------------------------------- requests

const csrf = () => $('meta[name="csrf-token"]').content;

/** fetch() with the CSRF header, for page scripts. */
function send(url, options = {}) {
  const headers = new Headers(options.headers);
  headers.set("X-CSRFToken", csrf());
  return fetch(url, { credentials: "same-origin", ...options, headers });
}

document.addEventListener("htmx:configRequest", (event) => {
  event.detail.headers["X-CSRFToken"] = csrf();
  const { verb, elt, formData } = event.detail;
  // An address that people share should not carry filters that are not set.
  if (verb === "get" && elt.matches("form.tools")) for (const [name, value] of [...formData]) if (!value) formData.delete(name);
});

// A word that somebody typed into a search before the page had its scripts counts, too.
addEventListener("load", () => {
  for (const input of $$("form[hx-get] [data-search]")) if (input.value !== input.defaultValue) window.htmx.trigger(input.form, "submit");
});

// An error that no form asked for must not replace the row or panel that was clicked: it goes to the notices, or a toast.
document.addEventListener("htmx:beforeSwap", (event) => {
  const { xhr } = event.detail;
  if (xhr.status < 400) return;
  if (xhr.status === 401) {
    event.detail.shouldSwap = false;
    return goToLogin();
  }
  const type = xhr.getResponseHeader("Content-Type") ?? "";
  const wantsPlace = xhr.getResponseHeader("HX-Retarget");
  const forForm = xhr.status === 422 && event.detail.requestConfig.elt.closest("[data-form-errors]");
  if (wantsPlace || forForm) return;
  const text = xhr.responseText;
  if (type.startsWith("text/html") && text.trim() && !/<html/i.test(text.slice(0, 400)) && $("#notices")) {
    event.detail.shouldSwap = true;
    event.detail.target = $("#notices");
    event.detail.swapOverride = "innerHTML show:window:top";
  } else {
    event.detail.shouldSwap = false;
    toast(problemText(xhr, type, text), "bad");
  }
});

function problemText(xhr, type, text) {
  if (type.includes("json")) {
    try {
      const problem = JSON.parse(text);
      return [problem.title, problem.detail].filter(Boolean).join(": ") || word("failed");
    } catch { /* not JSON after all: the plain sentence below is the better message */ }
  }
  return `${word("failed")} (${xhr.status})`;
}

for (const name of ["htmx:sendError", "htmx:timeout"]) {
  document.addEventListener(name, (event) => {
    if (!event.detail.elt.closest("[data-live]") || event.detail.elt.matches("form, button")) toast(word("no_answer"), "bad");
  });
}

// What was typed is kept over the sign-in (js/drafts.js): nobody has to be asked whether to leave.
document.addEventListener("htmx:beforeOnLoad", (event) => {
  const away = event.detail.xhr.getResponseHeader("HX-Redirect");
  if (away && new URL(away, location.href).pathname === new URL(document.body.dataset.loginUrl, location.href).pathname) window.clawportal.leaving = true;
});

function goToLogin() {
  window.clawportal.leaving = true;
  const url = new URL(document.body.dataset.loginUrl, location.href);
  url.searchParams.set("next", location.pathname + location.search);
  location.assign(url);
}

// ---------------------------------------------------------------- toasts

const tones = { success: "ok", ok: "ok", info: "busy", busy: "busy", warning: "warn", warn: "warn", error: "bad", bad: "bad" };
const symbols = { ok: "circle-check", busy: "info-circle", warn: "alert-triangle", bad: "alert-circle" };

function toast(text, level = "info") {
  const tone = tones[level] ?? "busy";
  const close = element("button", { type: "button", class: "btn btn-quiet btn-sm square close", "aria-label": word("close"), "data-dismiss": true }, icon("x"));
  const item = element("div", { class: `toast-item tone-${tone}` }, icon(symbols[tone]), element("span", {}, text), close);
  if (tone === "bad") item.setAttribute("role", "alert");
  $("#toasts").append(item);
  while ($("#toasts").children.length > 4) $("#toasts").firstElementChild.remove();
  if (tone !== "bad") setTimeout(() => item.remove(), 6000);   // what went wrong stays until it was read
}

// What is told after a change that led to another page. Without scripts it stands there as a note.
for (const told of $$("[data-toast]")) { told.remove(); toast(told.dataset.toast, "success"); }

// The server says it with the header  HX-Trigger: {"toast": {"level": "success", "text": "..."}}
document.addEventListener("toast", (event) => toast(event.detail.text ?? String(event.detail.value ?? ""), event.detail.level));

// ---------------------------------------------------------------- a question before an action

const dialog = $("#confirm");
let confirmed = null;

/** Ask; resolves to true or false. */
function ask({ title, text = "", ok = "OK", tone = "", losses = [], selected = [], typed = "" }) {
  const part = (name) => $(`[data-part="${name}"]`, dialog);
  const items = (name, lines) => {
    part(name).hidden = !lines.length;
    const shown = lines.slice(0, 8).map((line) => element("li", {}, line));
    if (lines.length > 8) shown.push(element("li", {}, word("and_more", { n: lines.length - 8 })));
    $("ul", part(name)).replaceChildren(...shown);
  };
  $("#confirm-title").textContent = title;
  $("#confirm-text").textContent = text;
  items("losses", losses);
  items("selected", selected);
  part("typed").hidden = !typed;
  $("code", part("typed")).textContent = typed;
  const field = $("#confirm-typed");
  const button = $("[data-ok]", dialog);
  field.value = "";
  button.textContent = ok;
  button.className = `btn ${tone === "bad" ? "btn-danger" : "btn-primary"}`;
  const check = () => { button.disabled = Boolean(typed) && field.value.trim() !== typed; };
  field.oninput = check;
  // Enter in the field means the button that is meant, not the first one of the form, which is Cancel.
  field.onkeydown = (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    if (!button.disabled) dialog.close("ok");
  };
  check();
  dialog.returnValue = "";
  dialog.showModal();
  (typed ? field : tone === "bad" ? $('[value="cancel"]', dialog) : button).focus();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "ok"), { once: true }));
}

// Caught on the way down, before htmx or the browser see the click: works for buttons, links, forms with and without htmx.
document.addEventListener("click", (event) => {
  const asker = event.target.closest?.("[data-confirm]");
  if (!asker || asker === confirmed) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  asker.closest("details.menu")?.removeAttribute("open");
  const data = asker.dataset;
  const chosen = "confirmSelected" in data ? picked() : [];
  const fill = (text) => (text ?? "").replaceAll("{n}", chosen.length);
  ask({
    title: fill(data.confirm), text: fill(data.confirmText), ok: fill(data.confirmOk), tone: data.confirmTone, typed: data.confirmTyped,
    losses: data.confirmLosses ? JSON.parse(data.confirmLosses) : [], selected: chosen.map((box) => box.dataset.name),
  }).then((yes) => {
    if (!yes) return;
    confirmed = asker;
    asker.click();
    confirmed = null;
  });
}, true);

// ---------------------------------------------------------------- menus, disclosure, copying, small things

document.addEventListener("click", (event) => {
  const target = event.target;
  for (const menu of $$("details.menu[open]")) if (!menu.contains(target) || target.closest(".menu-item")) menu.removeAttribute("open");
  const opener = target.closest("[data-open]");
  if (opener) $(`#${opener.dataset.open}`).showModal();
  const copier = target.closest("[data-copy], [data-copy-from]");
  if (copier) copy(copier);
  target.closest("[data-dismiss]")?.closest(".note, .toast-item")?.remove();
  const reveal = target.closest("[data-reveal]");
  if (reveal) toggleSecret(reveal);
  if (target.closest("[data-side]")) openSide(true);
  else if (target.closest("[data-side-close]") || target.closest("#side a")) openSide(false);
  if (target === target.closest("dialog")) target.close();     // a click on the backdrop
});

// A menu in the last row must not be cut off: it opens upwards where there is no room below.
document.addEventListener("toggle", (event) => {
  const menu = event.target;
  if (!menu.matches?.("details.menu:not(.up)") || !menu.open) return;
  if (menu.hasAttribute("hx-get")) window.htmx.trigger(menu, "opened");      // its items depend on the state at this moment
  placeMenu(menu);
}, true);
document.addEventListener("htmx:afterSettle", (event) => {
  const menu = event.target.closest?.("details.menu[open]:not(.up)");
  if (menu) placeMenu(menu);
});

function placeMenu(menu) {
  const body = $(".menu-body", menu);
  body.style.top = body.style.bottom = "";
  if (body.getBoundingClientRect().bottom > innerHeight - 8) { body.style.top = "auto"; body.style.bottom = "calc(100% + 4px)"; }
  if (body.getBoundingClientRect().left < 8) { body.style.right = "auto"; body.style.left = "0"; }
}

async function copy(button) {
  const text = button.dataset.copyFrom ? $(button.dataset.copyFrom).textContent : button.dataset.copy;
  try {
    await navigator.clipboard.writeText(text);
    toast(word("copied"), "ok");
  } catch {
    toast(word("copy_failed"), "warn");
  }
}

function toggleSecret(button) {
  const field = document.getElementById(button.dataset.reveal);
  const show = field.type === "password";
  field.type = show ? "text" : "password";
  button.setAttribute("aria-label", word(show ? "hide" : "show"));
  button.title = word(show ? "hide" : "show");
  button.replaceChildren(icon(show ? "eye-off" : "eye"));
}

function openSide(open) {
  $("#side")?.classList.toggle("open", open);
  const shade = $(".shade");
  if (shade) { shade.hidden = !open; shade.classList.toggle("open", open); }
  for (const button of $$("[data-side]")) button.setAttribute("aria-expanded", open);
  if (open) $("#side a")?.focus({ preventScroll: true });
}

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-autosubmit]")) event.target.form.requestSubmit();
});

// A certificate or a kubeconfig is a file: its text goes into the field, and nothing is sent before the form is.
const LARGEST_TEXT = 1_000_000;
document.addEventListener("change", async (event) => {
  const source = event.target.closest("[data-fill]"), file = source?.files[0];
  if (!file) return;
  const field = document.getElementById(source.dataset.fill);
  source.value = "";
  if (file.size > LARGEST_TEXT) return toast(word("file_large"), "warn");
  field.value = await file.text();
  for (const kind of ["input", "change"]) field.dispatchEvent(new Event(kind, { bubbles: true }));
});
for (const label of $$(".from-file")) label.hidden = false;

// The theme changes at once; the server only has to remember it.
document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.matches("[data-theme-form]")) return;
  event.preventDefault();
  const body = new FormData(form, event.submitter);
  const choice = body.get("theme");
  const root = document.documentElement;
  root.dataset.themeChoice = choice;
  root.dataset.bsTheme = choice === "auto" ? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light") : choice;
  for (const button of $$("[data-theme-form] [name=theme]")) {
    if (button.type === "radio") button.checked = button.value === choice;
    else button.setAttribute("aria-checked", button.value === choice);
  }
  try {
    await send(form.action, { method: "POST", body, headers: { "HX-Request": "true" } });
  } catch {
    toast(word("no_answer"), "bad");
  }
});

/** data-show-when="spec.model.provider=openai,anthropic" shows a part of a form only for these values of that field. */
function showParts() {
  for (const part of $$("[data-show-when]")) {
    const [name, values] = part.dataset.showWhen.split("=");
    const control = part.closest("form").elements[name];
    if (control) part.hidden = !values.split(",").includes(control.value);
  }
}
document.addEventListener("change", showParts);

// ---------------------------------------------------------------- times in words

// The server needs it where somebody picks a day: Tuesday begins at the reader's midnight.
document.cookie = `clawportal_zone=${encodeURIComponent(Intl.DateTimeFormat().resolvedOptions().timeZone ?? "")}; path=${document.body.dataset.root || "/"}; max-age=31536000; samesite=lax${location.protocol === "https:" ? "; secure" : ""}`;

const language = document.documentElement.lang || "en";
const relative = new Intl.RelativeTimeFormat(language, { numeric: "auto", style: "short" });
const absolute = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "medium" });
const steps = [[60, "second", 1], [3600, "minute", 60], [86400, "hour", 3600], [86400 * 30, "day", 86400], [86400 * 365, "month", 86400 * 30], [Infinity, "year", 86400 * 365]];

function ago(date, now = Date.now()) {
  const seconds = Math.round((date - now) / 1000);
  const [, unit, size] = steps.find(([limit]) => Math.abs(seconds) < limit);
  return relative.format(Math.trunc(seconds / size), unit);
}

function setTimes(root = document) {
  const now = Date.now();
  for (const time of $$("time[data-relative], time[data-local]", root)) {
    const date = new Date(time.dateTime);
    if (Number.isNaN(+date)) continue;
    const text = "relative" in time.dataset ? ago(date, now) : absolute.format(date);
    if (time.textContent !== text) time.textContent = text;
    time.title ||= `${absolute.format(date)} (${time.dateTime})`;
  }
}
setInterval(() => { if (!document.hidden) setTimes(); }, 10_000);
document.addEventListener("visibilitychange", () => { if (!document.hidden) setTimes(); });

// ---------------------------------------------------------------- tables: selection and rows by keyboard

const boxes = () => $$("input[data-pick]");
const picked = () => boxes().filter((box) => box.checked);

function setBulk() {
  const chosen = picked();
  for (const box of boxes()) box.closest("tr").classList.toggle("picked", box.checked);
  const bar = $("[data-bulk]");
  if (bar) {
    bar.hidden = !chosen.length;
    $("[data-bulk-count]", bar).textContent = word("selected", { n: chosen.length });
  }
  const all = $("input[data-pick-all]");
  if (all) {
    all.checked = chosen.length > 0 && chosen.length === boxes().length;
    all.indeterminate = chosen.length > 0 && !all.checked;
  }
}

let lastPicked = null;
document.addEventListener("change", (event) => {
  if (event.target.matches("input[data-pick-all]")) for (const box of boxes()) box.checked = event.target.checked;
  if (event.target.matches("input[data-pick], input[data-pick-all]")) setBulk();
});
document.addEventListener("click", (event) => {
  const clear = event.target.closest("[data-bulk-clear]");
  if (clear) { for (const box of boxes()) box.checked = false; setBulk(); }
  const box = event.target.closest("input[data-pick]");
  if (!box) return;
  if (event.shiftKey && lastPicked?.isConnected) {
    const list = boxes();
    const [from, to] = [list.indexOf(lastPicked), list.indexOf(box)].sort((a, b) => a - b);
    for (const other of list.slice(from, to + 1)) other.checked = box.checked;
    setBulk();
  }
  lastPicked = box;
});

// Refreshing the list must not forget what was selected.
let remembered = new Set();
document.addEventListener("htmx:beforeSwap", () => { remembered = new Set(picked().map((box) => box.value)); });
function restorePicks() {
  for (const box of boxes()) if (remembered.has(box.value)) box.checked = true;
  setBulk();
}
// After a bulk action nothing stays selected, so that the next one cannot hit the same rows by accident.
document.addEventListener("htmx:afterRequest", (event) => {
  if (!event.detail.successful || !event.detail.elt.matches("[data-bulk]")) return;
  for (const box of boxes()) box.checked = false;
  remembered.clear();
  setBulk();
});

function moveRow(by) {
  const rows = $$("tbody tr[data-href]");
  if (!rows.length) return;
  const now = rows.findIndex((row) => row.classList.contains("cursor"));
  const next = rows[Math.min(rows.length - 1, Math.max(0, now + by))];
  for (const row of rows) row.classList.toggle("cursor", row === next);
  next.scrollIntoView({ block: "nearest" });
  $("a", next)?.focus({ preventScroll: true });
}

// ---------------------------------------------------------------- keyboard

let leader = 0;
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    for (const menu of $$("details.menu[open]")) { menu.removeAttribute("open"); $("summary", menu).focus(); }
    openSide(false);
  }
  const typing = event.target.closest("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || $("dialog[open]")) return;
  const key = event.key;
  if (leader && Date.now() - leader < 1200) {
    leader = 0;
    const link = $(`#side a[data-key="${CSS.escape(key)}"]`);
    if (link) { event.preventDefault(); return link.click(); }
  }
  if (key === "g") leader = Date.now();
  else if (key === "/") { const field = $("main [data-search]") ?? $("[data-search]"); if (field) { event.preventDefault(); field.focus(); field.select(); } }
  else if (key === "?") $("#shortcuts").showModal();
  else if (key === "c") $("[data-create], .bar-bottom .make")?.click();
  else if (key === "j" || key === "k") moveRow(key === "j" ? 1 : -1);
  else if (key === "x") { const box = $("tr.cursor input[data-pick]"); if (box) box.click(); }
  else if (key === "Enter") { const row = $("tr.cursor"); if (row && !event.target.closest("a, button, summary, input")) location.assign(row.dataset.href); }
});

// A click anywhere in a row opens it, but not where there is something to press or text was selected.
document.addEventListener("click", (event) => {
  const row = event.target.closest("tr[data-href]");
  if (!row || event.defaultPrevented || event.target.closest("a, button, input, label, summary, form, .menu-body") || String(getSelection())) return;
  if (event.ctrlKey || event.metaKey) open(row.dataset.href, "_blank", "noopener");
  else location.assign(row.dataset.href);
});

// ---------------------------------------------------------------- start, and again for what htmx brings

document.addEventListener("htmx:afterSwap", () => { setTimes(); restorePicks(); showParts(); });
setTimes();
showParts();
setBulk();
// On a phone the tabs are wider than the screen: the one that is open must be seen.
for (const tab of $$(".tabs > [aria-current=page]")) {
  const bar = tab.parentElement;
  bar.scrollLeft += tab.getBoundingClientRect().left - bar.getBoundingClientRect().left - (bar.clientWidth - tab.offsetWidth) / 2;
}

window.clawportal = { $, $$, word, element, icon, send, toast, ask, ago, setTimes, goToLogin, language };
