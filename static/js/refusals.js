// A refusal is seen: whatever says no to a form is scrolled into view and takes the focus, wherever the page stood.
//
//   data-refusal           on what says why: a conflict, a problem, the list of things to correct (notes of _macros.html)
//   aria-invalid="true"    on a field that has to be corrected
// Holds for pages that came whole and for what htmx brings. What a page asks for by itself (live parts, validation while one
// types) never moves anything.

const { $$ } = window.clawportal;
const FIELD = "input:not([type=hidden]), select, textarea";
let asking = null;          // the element whose request was refused just now

const visible = (element) => element.getClientRects().length > 0;

/** The first field to correct, opened if it is folded away. */
function field(root) {
  const found = $$("[aria-invalid=true]", root).find((one) => one.matches(FIELD));
  found?.closest("details")?.setAttribute("open", "");
  return found;
}

function show(element) {
  element.scrollIntoView({ block: element.offsetHeight > innerHeight / 2 ? "start" : "center" });
  if (!element.matches(FIELD) && !element.hasAttribute("tabindex")) element.tabIndex = -1;
  element.focus({ preventScroll: true });
}

/** What says no, nearest to who asked: a note first, because a field tells only its own part. */
function reveal(who) {
  const form = who?.closest("form, section, .panel");
  const notes = $$("[data-refusal]").filter(visible);
  const note = notes.find((one) => form?.contains(one)) ?? notes.find((one) => one.closest("#notices")) ?? notes[0];
  const first = field(form ?? document) ?? field(document);
  const wanted = note && !(first && note.dataset.refusal === "fields") ? note : first;
  if (wanted) show(wanted);
}

document.addEventListener("htmx:afterRequest", (event) => {
  const { elt, xhr, requestConfig } = event.detail;
  if (!xhr || xhr.status < 400 || requestConfig?.verb === "get" || elt.closest("[data-validates]")) return;
  asking = elt;
  // after the swap, and after the page's own scripts have marked their fields
  setTimeout(() => { reveal(asking); asking = null; }, 30);
});

if ($$("[data-refusal]").some(visible) || field(document)) reveal(null);
