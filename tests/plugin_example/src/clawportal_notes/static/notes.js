// Says how much room is left in the note that is being written.
for (const field of document.querySelectorAll("textarea[data-counts]")) {
  const left = field.insertAdjacentElement("afterend", document.createElement("div"));
  left.className = "hint";
  const show = () => { left.textContent = `${field.value.length} / ${field.maxLength}`; };
  field.addEventListener("input", show);
  show();
}
