// Chat with a running claw: one POST for each turn, the answer read piece by piece from a `text/event-stream` body.
//
//   POST <data-url>  {"text": "...", "session": "..."}   ->   events
//     delta  {"text": piece}     final {"text": whole answer}     usage {"input_tokens", "output_tokens", "model"}
//     error  {"text" or "message" or "detail": sentence}
// An answer that is no stream is `application/problem+json`. The text is put in as text; markup is made only from a small,
// safe part of Markdown, with DOM calls and never as HTML.

const { $, word, element, icon, send, goToLogin } = window.clawportal;

const box = $("#chat");
const turns = $(".chat-scroll", box);
const form = $("form", box);
const field = $("textarea", form);
const submit = $("[data-send]", form);
const stop = $("[data-stop]", form);
const empty = $("[data-chat-empty]", box);
const key = `chat.${box.dataset.instanceId}`;

let talk = load();
let running = null;

// ---------------------------------------------------------------- the conversation is kept in this tab

function load() {
  try {
    const kept = JSON.parse(sessionStorage.getItem(key));
    if (kept?.session && Array.isArray(kept.turns)) return kept;
  } catch { /* nothing usable is kept: start afresh */ }
  return { session: newSession(), turns: [] };
}

// crypto.randomUUID() exists only on https and localhost.
function newSession() {
  return [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function keep() {
  try {
    sessionStorage.setItem(key, JSON.stringify({ ...talk, turns: talk.turns.slice(-200) }));
  } catch { /* full or forbidden: the conversation on screen goes on */ }
}

// ---------------------------------------------------------------- Markdown, the safe part

function markdown(text) {
  const made = document.createDocumentFragment();
  const pieces = text.split(/^```[^\n]*\n([\s\S]*?)(?:^```\s*$|$(?![\s\S]))/m);
  pieces.forEach((piece, k) => {
    if (k % 2) made.append(element("pre", {}, element("code", {}, piece.replace(/\n$/, ""))));
    else for (const block of piece.split(/\n{2,}/)) if (block.trim()) made.append(...paragraph(block.replace(/^\n+|\n+$/g, "")));
  });
  return made;
}

function paragraph(block) {
  const heading = /^#{1,6}\s+(.+)/.exec(block);
  if (heading) {
    const rest = block.slice(heading[0].length).trim();
    return [element("p", {}, element("b", {}, ...inline(heading[1]))), ...(rest ? paragraph(rest) : [])];
  }
  const rows = block.split("\n");
  const first = rows.findIndex((row) => /^\s*([-*]|\d+[.)])\s+/.test(row));
  if (first > 0 && rows.slice(first).every((row) => /^\s*([-*]|\d+[.)])\s+/.test(row) || /^\s{2,}/.test(row))) {
    return [...paragraph(rows.slice(0, first).join("\n")), ...paragraph(rows.slice(first).join("\n"))];
  }
  if (first === 0) {
    const list = element(/^\s*\d/.test(rows[0]) ? "ol" : "ul");
    for (const row of rows) {
      const item = /^\s*(?:[-*]|\d+[.)])\s+(.*)/.exec(row);
      if (item) list.append(element("li", {}, ...inline(item[1])));
      else list.lastElementChild.append(" ", ...inline(row.trim()));
    }
    return [list];
  }
  return [element("p", {}, ...rows.flatMap((row, k) => (k ? [element("br"), ...inline(row)] : inline(row))))];
}

function inline(text) {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*|https?:\/\/[^\s<>()"'`]*[^\s<>()"'`.,;:!?。，；：！？])/).filter(Boolean).map((part) => {
    if (/^`[^`]+`$/.test(part)) return element("code", {}, part.slice(1, -1));
    if (/^\*\*[^*]+\*\*$/.test(part)) return element("b", {}, part.slice(2, -2));
    if (/^https?:\/\//.test(part)) return element("a", { href: part, target: "_blank", rel: "noopener noreferrer nofollow" }, part);
    return part;
  });
}

// ---------------------------------------------------------------- bubbles

function bubble(turn) {
  const body = element("div", { class: "bubble" });
  const mine = turn.who === "me";
  const row = element("div", { class: `turn${mine ? " mine" : ""}${turn.failed ? " failed" : ""}` });
  if (!mine) row.append(element("span", { class: "tile", "aria-hidden": "true" }, (box.dataset.name || "?").slice(0, 1)));
  if (mine) body.textContent = turn.text;
  else fill(body, turn);
  row.append(body);
  turns.append(row);
  return { row, body };
}

function fill(body, turn) {
  body.replaceChildren(markdown(turn.text));
  if (turn.note) body.append(element("div", { class: "meta" }, turn.note));
}

const atEnd = () => turns.scrollHeight - turns.scrollTop - turns.clientHeight < 80;
const toEnd = () => { turns.scrollTop = turns.scrollHeight; };

function showAll() {
  for (const row of turns.querySelectorAll(".turn")) row.remove();
  for (const turn of talk.turns) bubble(turn);
  empty.hidden = talk.turns.length > 0;
  if (talk.turns.length) toEnd();
}

// ---------------------------------------------------------------- one turn

/** Events of a stream as [name, data]. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    rest = (rest + (value ?? "")).replaceAll("\r\n", "\n");
    const blocks = rest.split("\n\n");
    rest = done ? "" : blocks.pop();
    for (const block of blocks) {
      let name = "message";
      const data = [];
      for (const line of block.split("\n")) {
        if (line.startsWith("event:")) name = line.slice(6).trim();
        else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
      }
      if (data.length) yield [name, JSON.parse(data.join("\n"))];
    }
    if (done) return;
  }
}

async function ask(text) {
  const here = talk;
  here.turns.push({ who: "me", text });
  bubble(here.turns.at(-1));
  keep();
  empty.hidden = true;
  const turn = { who: "claw", text: "" };
  const { row, body } = bubble(turn);
  row.classList.add("live");
  body.append(element("span", { class: "meta" }, word("thinking")));
  toEnd();
  running = new AbortController();
  buttons();
  let drawing = 0;
  const draw = () => {
    drawing ||= requestAnimationFrame(() => { const end = atEnd(); drawing = 0; fill(body, turn); if (end) toEnd(); });
  };
  try {
    const answer = await send(box.dataset.url, {
      method: "POST", signal: running.signal, headers: { "Content-Type": "application/json", Accept: "text/event-stream" },
      body: JSON.stringify({ text, session: here.session }),
    });
    if (answer.status === 401) return goToLogin();
    if (!answer.ok || !(answer.headers.get("Content-Type") ?? "").startsWith("text/event-stream")) throw new Error(await reason(answer));
    for await (const [name, data] of events(answer.body)) {
      if (name === "delta") turn.text += data.text ?? "";
      else if (name === "final") turn.text = data.text || turn.text;
      else if (name === "usage") turn.note = word("tokens", { i: data.input_tokens ?? 0, o: data.output_tokens ?? 0 });
      else if (name === "error") throw new Error([data.text ?? data.message ?? data.detail ?? word("chat_failed"), data.remedy].filter(Boolean).join(" "));
      draw();
    }
    if (!turn.text) throw new Error(word("chat_failed"));
  } catch (error) {
    if (error.name === "AbortError") turn.note = word("stopped_reply");
    else { turn.failed = true; turn.note = error instanceof TypeError ? word("no_answer") : error.message; }
  }
  cancelAnimationFrame(drawing);
  running = null;
  if (talk !== here) return buttons();      // a new conversation was begun meanwhile
  row.classList.remove("live");
  row.classList.toggle("failed", Boolean(turn.failed));
  fill(body, turn);
  if (turn.failed) body.append(element("button", { type: "button", class: "btn btn-sm", "data-again": text }, icon("refresh"), word("again")));
  here.turns.push(turn);
  keep();
  buttons();
  if (atEnd()) toEnd();
  $("[data-said]", box).textContent = turn.text || turn.note || "";     // read out once, when it is whole
}

async function reason(answer) {
  try {
    const problem = await answer.json();
    return problem.detail || problem.title || `${word("chat_failed")} (${answer.status})`;
  } catch {
    return `${word("chat_failed")} (${answer.status})`;
  }
}

function buttons() {
  submit.hidden = Boolean(running);
  stop.hidden = !running;
  submit.disabled = !field.value.trim() || field.disabled;
}

// ---------------------------------------------------------------- hands

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = field.value.trim();
  if (!text || running || field.disabled) return;
  field.value = "";
  ask(text);
});
field.addEventListener("keydown", (event) => {
  // isComposing: Enter that ends the input of a Chinese word is not "send".
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229) {
    event.preventDefault();
    form.requestSubmit();
  }
});
field.addEventListener("input", buttons);
stop.addEventListener("click", () => running?.abort());
$("[data-new]", box).addEventListener("click", () => {
  running?.abort();
  talk = { session: newSession(), turns: [] };
  keep();
  showAll();
  field.focus();
});
box.addEventListener("click", (event) => {
  const example = event.target.closest("[data-example]");
  if (example && !field.disabled) { field.value = example.textContent.trim(); field.focus(); buttons(); }
  const again = event.target.closest("[data-again]");
  if (again && !running) { again.remove(); ask(again.dataset.again); }
});

// Whether one may chat is part of the live page: the claw may start or stop while the page is open.
function openOrClose() {
  field.disabled = $("#chat-closed", box).dataset.closed === "yes";
  buttons();
}
document.addEventListener("htmx:afterSettle", openOrClose);

showAll();
openOrClose();
if (matchMedia("(min-width: 48rem)").matches) field.focus();
