// The create and edit form: shows errors where they belong while one types.
//
// The server answers POSTs of the form (validation and saving alike) with `instances/_form_errors.html`:
//   <div id="form-errors" data-errors='{"spec.model.name": "sentence", ...}'> ... </div>
// While somebody types, only fields that were touched show their error; after a try to save, all do.
// What a save said stays until it is mended: validation goes on below it and never takes its place.

const { $, $$ } = window.clawportal;
const form = $("#instance-form");
const touched = new Set();
let tried = false;
let changed = false;

function fieldOf(name) {
  return form.querySelector(`[data-field="${CSS.escape(name)}"]`);
}

/** People know a field by its label, not by its path. */
function nameLinks() {
  for (const link of $$("a[data-goto]", form)) {
    const name = nearest(link.dataset.goto);
    const label = name && fieldOf(name)?.querySelector("label:not(.choice), .label, b");
    const text = label && [...label.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE).map((node) => node.textContent.trim()).join(" ").trim();
    if (text) { link.title = link.dataset.goto; link.textContent = text; }
  }
}

/** An error of `spec.settings.channels.0.token` belongs to the nearest field that exists. */
function nearest(path) {
  for (let name = path; name; name = name.slice(0, name.lastIndexOf("."))) {
    if (fieldOf(name)) return name;
    if (!name.includes(".")) break;
  }
  return null;
}

function showErrors() {
  nameLinks();
  const report = $("#form-errors");
  const errors = JSON.parse(report.dataset.errors || "{}");
  if (report.dataset.tried !== undefined) tried = true;
  const byField = {};
  for (const [path, message] of Object.entries(errors)) {
    const name = nearest(path);
    if (name) byField[name] ??= message;
  }
  for (const field of $$("[data-field]", form)) {
    const name = field.dataset.field;
    const message = (tried || touched.has(name)) && byField[name] ? byField[name] : "";
    const place = $(`[data-error-for="${CSS.escape(name)}"]`, field);
    if (place && place.textContent !== message) place.textContent = message;
    for (const input of $$("input:not([type=hidden]), select, textarea", field)) {
      if (input.closest("[data-field]") !== field) continue;
      input.classList.toggle("is-invalid", Boolean(message));
      if (message) input.setAttribute("aria-invalid", "true"); else input.removeAttribute("aria-invalid");
    }
    if (message && tried) field.closest("details.fold")?.setAttribute("open", "");
  }
}

function touch(event) {
  const name = event.target.closest("[data-field]")?.dataset.field;
  if (name) touched.add(name);
  changed = true;
}
form.addEventListener("input", touch);
form.addEventListener("change", touch);
form.addEventListener("submit", () => { changed = false; });

// An answer to the form counts more than one to the element beside it that validates.
const asker = $("[data-validates]");
document.addEventListener("htmx:configRequest", (event) => {
  if (event.detail.elt === form) window.htmx.trigger(asker, "htmx:abort");
  if (event.detail.elt !== asker) return;
  if (form.classList.contains("htmx-request")) event.preventDefault();
  else if (tried) event.detail.parameters.tried = "1";
});
document.addEventListener("htmx:beforeSwap", (event) => {
  const report = $("#form-errors");
  if (event.detail.requestConfig.elt !== asker || report.dataset.stays === undefined) return;
  event.detail.shouldSwap = false;
  const answer = new DOMParser().parseFromString(event.detail.xhr.responseText, "text/html").getElementById("form-errors");
  if (!answer) return;
  report.dataset.errors = answer.dataset.errors;
  showErrors();
});

// What htmx brought: new errors, or the settings of another kind of claw or project. A secret that was typed is never sent
// back, so it is carried over here.
const typed = new Map();
document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.target?.id !== "settings-part") return;
  for (const field of $$('[name^="secrets."]', form)) if (field.value) typed.set(field.name, field.value);
});
document.addEventListener("htmx:afterSwap", () => {
  for (const [name, value] of typed) {
    const field = form.elements[name];
    if (field && !field.value) field.value = value;
  }
  typed.clear();
  showErrors();
});
document.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.elt !== form) return;
  changed = !event.detail.successful;
});
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-goto]");
  if (!link) return;
  event.preventDefault();
  const name = nearest(link.dataset.goto);
  const field = name && fieldOf(name);
  if (!field) return;
  field.closest("details.fold")?.setAttribute("open", "");
  field.scrollIntoView({ block: "center" });
  $("input:not([type=hidden]), select, textarea", field)?.focus({ preventScroll: true });
});
addEventListener("beforeunload", (event) => { if (changed && !window.clawportal.leaving) event.preventDefault(); });

showErrors();

// Whoever chose a kind before this page could hear it, or comes back to it, would read the settings of another kind. htmx begins
// with the same event, before this.
document.addEventListener("DOMContentLoaded", () => {
  const kind = form.querySelector('[name="adapter"]:checked');
  if (kind && kind.value !== $("#settings-part").dataset.adapter) kind.dispatchEvent(new Event("change", { bubbles: true }));
});
