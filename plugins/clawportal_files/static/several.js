// Several rows of the files at once: into the trash, into another folder, copied. One after the other, as each may fail for a reason of
// its own; what could not be done is named, and stays selected. The ZIP archive is a form that the browser sends by itself.

const { $, $$, element, toast, ask } = window.clawportal;
const { askName, askTaken, call, say: sayOne, refresh } = window.claw_files;

const bar = () => $("#bulk");                                        // comes anew with the list
const words = () => JSON.parse(bar().dataset.words);
const say = (key, values = {}) => words()[key].replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);
const chosen = () => $$("#files input[data-pick]:checked").map((box) => box.value);
const last = (path) => path.slice(path.lastIndexOf("/") + 1);

const kinds = {
  async delete(paths) {
    const n = paths.length;
    if (!(await ask({ title: say("delete", { n }), text: say("delete_text"), ok: say("do_delete"), tone: "bad" }))) return;
    await each(paths, (path) => call("POST", "/trash", { path }), "deleted");
  },
  move: (paths) => transfer(paths, "move", "moved"),
  copy: (paths) => transfer(paths, "copy", "copied"),
};

async function transfer(paths, verb, done) {
  const check = (text) => (text.replaceAll("/", "") ? "" : say("no_folder"));
  const folder = await askName({ title: say(verb, { n: paths.length }), label: say("where"), value: $("#files").dataset.path, ok: say(`do_${verb}`), check });
  if (folder === null) return;
  const aim = folder.replace(/\/+$/, "");
  let all = null;                                                   // what was chosen for all whose name is taken
  await each(paths, async (path, more) => {
    const body = { path, target: `${aim}/${last(path)}` };
    const answer = await call("POST", `/${verb}`, body);
    if (answer.code !== "exists") return answer;
    const taken = all ?? (await askTaken(last(path), sayOne("taken_trash"), more));
    if (all === null && $("#file-taken-all").checked) all = taken;
    return taken ? call("POST", `/${verb}`, { ...body, taken }) : { text: say("skipped") };
  }, done);
}

/** One after the other; then what was done, and what was not. */
async function each(paths, act, done) {
  const failed = [];
  working(true);
  for (const [k, path] of paths.entries()) {
    $("[data-several-progress]").textContent = say("at_work", { done: k, n: paths.length });
    const answer = await act(path, k + 1 < paths.length);
    if (answer.ok) $(`#files input[data-pick][value="${CSS.escape(path)}"]`)?.click();
    else failed.push([path, answer.text]);
  }
  working(false);
  if (failed.length) tell(failed, paths.length);
  else toast(say(done, { n: paths.length }), "ok");
  await refresh();
}

function working(on) {
  for (const button of $$("button", bar())) button.disabled = on;
  $("[data-several-progress]").hidden = !on;
  $("[data-bulk-count]").hidden = on;
}

function tell(failed, n) {
  $("#several-partly-title").textContent = say("partly", { done: n - failed.length, n });
  $(".several-partly").replaceChildren(...failed.map(([path, text]) => element("li", {}, element("b", {}, path), ` – ${text}`)));
  $("#several-partly").showModal();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-several]");
  if (button?.dataset.several) kinds[button.dataset.several](chosen());
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Delete" || bar()?.hidden !== false || $("dialog[open]") || event.target.closest("input:not([type=checkbox]), textarea")) return;
  if (!$('[data-several="delete"]')) return;
  event.preventDefault();
  kinds.delete(chosen());
});
