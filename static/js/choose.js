// Choosing among many: a field that narrows a list, and buttons that fill a field with what stands on them.
//
// <input data-narrows="ID"> shows only those [data-choice] inside of #ID that have its words, and [data-none] where none has. It is no
// part of a form: nothing of it is sent, and Enter takes the first that is left. Arrow keys walk through the choices.
// <button data-choice data-pick="ID of a field" value="what it gets">.

const { $, $$ } = window.clawportal;

const listOf = (input) => document.getElementById(input.dataset.narrows);
const shown = (list) => $$("[data-choice]", list).filter((item) => !item.hidden && !item.closest("[hidden]"));
const control = (item) => item.querySelector("input[type=radio]") ?? item;
const chosen = (item) => Boolean(item.querySelector("input:checked"));

function narrow(input) {
  const list = listOf(input);
  const words = input.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  let left = 0;
  for (const item of $$("[data-choice]", list)) {
    const text = `${item.dataset.choice} ${item.value ?? ""} ${item.textContent}`.toLowerCase();
    const fits = words.every((word) => text.includes(word));
    item.hidden = !fits;
    left += fits;
  }
  for (const fold of $$("details", list)) if ($("[data-choice]", fold)) fold.open = words.length > 0 || $$("[data-choice]", fold).some(chosen);
  const none = $("[data-none]", list);
  if (none) none.hidden = left > 0;
}

for (const kind of ["input", "change"]) {
  document.addEventListener(kind, (event) => {
    if (!event.target.matches?.("[data-narrows]")) return;
    event.stopPropagation(); // it says nothing about the form around it
    narrow(event.target);
  }, true);
}

function first(input) {
  return shown(listOf(input)).map(control)[0];
}

document.addEventListener("keydown", (event) => {
  const target = event.target;
  if (target.matches?.("[data-narrows]")) {
    if (event.key === "Enter") { event.preventDefault(); const one = first(target); one?.click(); if (one?.type === "radio") one.focus(); }
    else if (event.key === "ArrowDown") { event.preventDefault(); first(target)?.focus(); }
    else if (event.key === "Escape" && target.value) { event.preventDefault(); target.value = ""; narrow(target); }
  } else if (target.matches?.("[data-pick]") && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
    event.preventDefault();
    const all = shown(target.closest("[data-picks]")), at = all.indexOf(target) + (event.key === "ArrowDown" ? 1 : -1);
    if (at < 0) $("[data-narrows]", target.closest("[data-picks]"))?.focus(); else all[at]?.focus();
  }
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-pick]");
  const field = button && document.getElementById(button.dataset.pick);
  if (!field) return;
  field.value = button.value;
  for (const kind of ["input", "change"]) field.dispatchEvent(new Event(kind, { bubbles: true }));
  field.focus();
});
