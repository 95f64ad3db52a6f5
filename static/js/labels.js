// Pairs of fields for labels (ui.labels_field): add one, take one away. Without this there are two empty pairs to fill in.

const { $, $$ } = window.clawportal;

function tidy(root) {
  const field = root.closest("[data-field]");
  const pairs = $$("[data-pair]", root);
  const empty = pairs.filter((pair) => $$("input", pair).every((input) => !input.value));
  for (const pair of empty.slice(pairs.length === empty.length ? 1 : 0)) if (!pair.contains(document.activeElement)) pair.remove();
  for (const button of $$("[data-pair-drop]", root)) button.hidden = false;
  $("[data-pair-add]", field).hidden = false;
}

function blank(root) {
  const pair = $("[data-pair]", root).cloneNode(true);
  for (const input of $$("input", pair)) { input.value = ""; input.classList.remove("is-invalid"); input.removeAttribute("aria-invalid"); }
  root.append(pair);
  return pair;
}

function start() {
  for (const root of $$("[data-pairs]:not([data-ready])")) { root.dataset.ready = ""; tidy(root); }
}

document.addEventListener("click", (event) => {
  const add = event.target.closest("[data-pair-add]");
  const drop = event.target.closest("[data-pair-drop]");
  if (add) $("input", blank($("[data-pairs]", add.closest("[data-field]")))).focus();
  if (!drop) return;
  const root = drop.closest("[data-pairs]");
  const pair = drop.closest("[data-pair]");
  if ($$("[data-pair]", root).length === 1) blank(root);
  const next = pair.nextElementSibling ?? pair.previousElementSibling;
  pair.remove();
  $("input", next).focus();
  $("input", next).dispatchEvent(new Event("input", { bubbles: true }));
});
document.addEventListener("htmx:afterSwap", start);
start();
