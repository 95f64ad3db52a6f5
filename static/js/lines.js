// Numbers beside the lines of a text, with marks at those that are wrong (`data-marks`: [{line, message}]). Without it, it is a plain field.

const { $, $$ } = window.clawportal;

for (const box of $$("[data-editor]")) {
  const text = $("textarea", box);
  const gutter = $(".gutter", box);
  const marks = new Map(JSON.parse(box.dataset.marks || "[]").map((mark) => [mark.line, mark.message]));
  const draw = () => {
    const count = text.value.split("\n").length;
    if (count === gutter.childElementCount) return;
    gutter.replaceChildren(...Array.from({ length: count }, (_, place) => {
      const line = document.createElement("span");
      line.textContent = place + 1;
      if (marks.has(place + 1)) { line.className = "marked"; line.title = marks.get(place + 1); }
      return line;
    }));
  };
  const follow = () => { gutter.scrollTop = text.scrollTop; };
  text.addEventListener("input", draw);
  text.addEventListener("scroll", follow);
  draw();
  const first = Math.min(...marks.keys());
  if (Number.isFinite(first)) text.scrollTop = Math.max(first - 4, 0) * parseFloat(getComputedStyle(text).lineHeight);
  follow();
}
