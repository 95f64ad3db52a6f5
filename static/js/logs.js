// The log viewer: holds tens of thousands of lines and draws only those that are in sight.
//
// Socket.IO namespace /logs.
//   browser -> server   join {instance_id, tail, since?}     since: time of the last line that is here, after a reconnect
//                       leave {instance_id}
//   server -> browser   lines {instance_id, lines: [[iso_time, stream, source, level, text], ...], dropped: n}
//                       problem {detail}
// `dropped` counts the lines that were left out before this batch because the browser could not take them in time.

const { $, $$, word, element, icon, namespace, language } = window.clawportal;

const ROW = 20;                 // pixels of one line, as in app.css
const EXTRA = 12;               // rows drawn above and below what is in sight
const KEEP = 50_000;            // lines held; the oldest tenth goes when there are more
const TAIL = 2_000;

const box = $("#logs");
const scroller = $(".logs-scroll", box);
const pad = $(".logs-pad", box);
const rowsBox = $(".logs-rows", box);
const more = $("[data-more]", box);
const emptyBox = $(".logs-empty", box);
const clock = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hour12: false });

const date = new Intl.DateTimeFormat(language, { weekday: "long", year: "numeric", month: "long", day: "numeric" });
const levelWords = { debug: "debug", info: "info", warning: "warn", error: "error" };    // as logs have them in every language

let lines = [];                 // every line that is held
let view = [];                  // those that pass the filters, and a row with the date before the first of each day
let tops = null;                // when wrapped: top of each line of `view`, in rows; one entry more than lines
let shown = 0;                  // lines of the log in `view`
let lastDay = "";               // of the last line in `view`
let hits = [];                  // indexes into `view` that contain the search
let hit = -1;
let query = "";
let level = "";
let only = false;               // lines without the search are left out
let wrap = false;
let follow = true;
let unseen = 0;
let columns = 120;
let frame = 0;
let socket = null;

// ---------------------------------------------------------------- lines

const ranks = { debug: 0, "": 1, info: 1, warning: 2, error: 3 };
const ESCAPES = /\u001b\[[0-9;?]*[ -/]*[@-~]|\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[\u0000-\u0008\u000b-\u001a\u001c-\u001f\u007f]/g;
const COLOURS = /\u001b\[([0-9;]*)m/g;

function toLine([time, stream, source, lineLevel, raw]) {
  const text = raw.replace(ESCAPES, "").replaceAll("\t", "    ");
  return { time, stream, source, level: lineLevel, text, raw: raw.includes("\u001b[") ? raw : null, low: null };
}

const grave = (line) => !level || line.gap || (ranks[line.level] ?? 1) >= ranks[level];
const passes = (line) => grave(line) && (!only || !query || (!line.gap && contains(line)));
const contains = (line) => !line.day && (line.low ??= line.text.toLowerCase()).includes(query);

/** Rows that a line takes when wrapped: characters of East Asian scripts are two columns wide. */
function height(line) {
  if (line.columns === undefined) {
    line.columns = line.text.length;
    for (const character of line.text.match(/[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60\uffe0-\uffe6]/g) ?? []) line.columns += 1;
  }
  return line.rows?.[columns] ?? Math.max(1, Math.ceil(line.columns / columns));
}

function add(batch, dropped) {
  const fresh = [];
  if (dropped) fresh.push({ gap: true, time: batch[0]?.[0] ?? "", text: word("dropped", { n: dropped.toLocaleString(language) }) });
  for (const item of batch) fresh.push(toLine(item));
  for (const line of fresh) {
    lines.push(line);
    if (!passes(line)) continue;
    show(line);
    if (query && contains(line)) hits.push(view.length - 1);
    if (!follow) unseen += 1;
  }
  if (lines.length > KEEP) trim();
  changed();
}

function show(line) {
  const day = line.time ? new Date(line.time).toDateString() : "";
  if (day && day !== lastDay) append({ gap: true, day: true, time: line.time, text: date.format(new Date(line.time)) });
  lastDay = day || lastDay;
  append(line);
}

function append(line) {
  if (tops) tops.push(tops[view.length] + height(line));
  view.push(line);
  if (!line.gap) shown += 1;
}

/** Lets the oldest tenth go, without moving what the reader looks at. */
function trim() {
  const looked = view.length ? rowAt(scroller.scrollTop) : 0;
  const kept = lines.slice(KEEP / 10);
  kept.unshift({ gap: true, time: kept[0].time, text: word("trimmed") });
  const before = view.length;
  lines = kept;
  rebuild();
  if (!follow) scrollToRow(Math.max(0, looked - (before - view.length)));
}

function rebuild() {
  view = [];
  tops = null;
  shown = 0;
  lastDay = "";
  for (const line of lines) if (passes(line)) show(line);
  measure();
  find(false);
}

function measure() {
  if (!wrap) { tops = null; return; }
  tops = new Array(view.length + 1);
  tops[0] = 0;
  for (let k = 0; k < view.length; k++) tops[k + 1] = tops[k] + height(view[k]);
}

const topOf = (row) => (tops ? tops[row] : row) * ROW;
const total = () => topOf(view.length);

function rowAt(pixels) {
  if (!tops) return Math.min(view.length, Math.max(0, Math.floor(pixels / ROW)));
  let low = 0, high = view.length;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (tops[middle] * ROW <= pixels) low = middle; else high = middle - 1;
  }
  return low;
}

// ---------------------------------------------------------------- drawing

function changed() {
  if (!frame) frame = requestAnimationFrame(() => { frame = 0; draw(); });
}

function draw() {
  pad.style.height = `${total() + 8}px`;
  if (follow) scroller.scrollTop = scroller.scrollHeight;
  const first = Math.max(0, rowAt(scroller.scrollTop) - EXTRA);
  const last = Math.min(view.length, rowAt(scroller.scrollTop + scroller.clientHeight) + EXTRA);
  const made = document.createDocumentFragment();
  for (let k = first; k < last; k++) made.append(rowFor(view[k], k));
  rowsBox.style.transform = `translateY(${topOf(first)}px)`;
  rowsBox.replaceChildren(made);
  if (wrap && correct(first)) { measure(); changed(); }
  emptyBox.hidden = lines.length > 0;
  more.hidden = follow || unseen === 0;
  if (!more.hidden) $("span", more).textContent = word("new_lines", { n: unseen.toLocaleString(language) });
  $("[data-count]", box).textContent = word("lines", { n: shown.toLocaleString(language) });
}

/** The estimate of a wrapped line can be wrong for odd characters: believe the browser. */
function correct(first) {
  let wrong = false;
  [...rowsBox.children].forEach((row, k) => {
    const line = view[first + k];
    const rows = Math.max(1, Math.round(row.offsetHeight / ROW));
    if (rows === height(line)) return;
    line.rows = { [columns]: rows };
    wrong = true;
  });
  return wrong;
}

function rowFor(line, k) {
  if (line.gap) return element("div", { class: line.day ? "log day" : "log gap" }, element("span", { class: "txt" }, line.text));
  const row = element("div", { class: `log lv-${line.level || "none"}${line.stream === "portal" ? " portal" : ""}` });
  if (hits[hit] === k) row.classList.add("hit");
  const at = new Date(line.time);
  row.append(element("time", { datetime: line.time, title: line.time }, Number.isNaN(+at) ? "" : clock.format(at)));
  if (showLevel) row.append(element("span", { class: "lvl" }, levelWords[line.level] ?? ""));
  if (showSource) row.append(element("span", { class: "src" }, line.source));
  const text = element("span", { class: "txt" });
  if (query && contains(line)) text.append(...marked(line));
  else if (line.raw) text.append(...coloured(line.raw));
  else text.textContent = line.text;
  row.append(text);
  return row;
}

function marked(line) {
  const parts = [];
  let from = 0;
  for (let at = line.low.indexOf(query); at >= 0; at = line.low.indexOf(query, from)) {
    if (at > from) parts.push(line.text.slice(from, at));
    parts.push(element("mark", {}, line.text.slice(at, at + query.length)));
    from = at + query.length;
  }
  parts.push(line.text.slice(from));
  return parts;
}

/** The colours of a terminal, as classes; every other escape sequence is taken out. */
function coloured(raw) {
  const parts = [];
  let classes = new Set();
  let from = 0;
  const push = (text) => {
    const clean = text.replace(ESCAPES, "").replaceAll("\t", "    ");
    if (clean) parts.push(classes.size ? element("span", { class: [...classes].join(" ") }, clean) : clean);
  };
  for (const found of raw.matchAll(COLOURS)) {
    push(raw.slice(from, found.index));
    from = found.index + found[0].length;
    const codes = (found[1] || "0").split(";").map(Number);
    for (let k = 0; k < codes.length; k++) {
      const code = codes[k];
      if (code === 0) classes = new Set();
      else if (code >= 1 && code <= 4) classes.add(`a${code}`);
      else if (code === 22) { classes.delete("a1"); classes.delete("a2"); }
      else if (code === 38 || code === 48) k += codes[k + 1] === 5 ? 2 : 4;     // 256 and true colours: kept plain
      else if ((code >= 30 && code <= 37) || (code >= 90 && code <= 97) || code === 39) {
        for (const name of [...classes]) if (name.startsWith("c")) classes.delete(name);
        if (code !== 39) classes.add(`c${code % 10}`);
      }
    }
  }
  push(raw.slice(from));
  return parts;
}

// ---------------------------------------------------------------- following, searching

function setFollow(on) {
  follow = on;
  if (on) unseen = 0;
  const button = $("[data-follow]", box);
  button.setAttribute("aria-pressed", on);
  $(".label", button).textContent = word(on ? "pause" : "follow");
  $("svg", button).replaceWith(icon(on ? "player-pause" : "player-play"));
  changed();
}

let lastTop = 0;
scroller.addEventListener("scroll", () => {
  const end = scroller.scrollTop + scroller.clientHeight >= scroller.scrollHeight - ROW;
  // Only a move upwards is a wish to read; new lines make the box taller too.
  if (follow && scroller.scrollTop < lastTop - 2 && !end) setFollow(false);
  else if (!follow && end && scroller.scrollTop > lastTop) setFollow(true);
  lastTop = scroller.scrollTop;
  changed();
}, { passive: true });

function scrollToRow(row) {
  scroller.scrollTop = Math.max(0, topOf(row) - scroller.clientHeight / 2);
}

function find(jump = true) {
  hits = [];
  if (query) view.forEach((line, k) => { if (contains(line)) hits.push(k); });
  hit = hits.length ? Math.min(Math.max(hit, 0), hits.length - 1) : -1;
  if (query && jump && hits.length) {
    const here = rowAt(scroller.scrollTop);
    hit = hits.findIndex((row) => row >= here);
    step(0);
  }
  showHits();
}

function step(by) {
  if (!hits.length) return;
  hit = (Math.max(hit, 0) + by + hits.length) % hits.length;
  if (follow) setFollow(false);
  scrollToRow(hits[hit]);
  showHits();
  changed();
}

function showHits() {
  $("[data-hits]", box).textContent = !query ? "" : hits.length ? word("hits", { k: (hit + 1).toLocaleString(language), n: hits.length.toLocaleString(language) }) : word("no_hits");
  for (const button of $$("[data-step]", box)) button.disabled = !hits.length;
}

let showSource = false;
let showLevel = false;          // some line says one
const search = $("[data-logs-search]", box);
let waiting = 0;
search.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => { query = search.value.toLowerCase(); hit = -1; if (only) rebuild(); find(); changed(); }, 120);
});
search.addEventListener("keydown", (event) => {
  if (event.key === "Enter") { event.preventDefault(); step(event.shiftKey ? -1 : 1); }
});
for (const button of $$("[data-step]", box)) button.addEventListener("click", () => step(Number(button.dataset.step)));
$("[data-level]", box).addEventListener("change", (event) => {
  level = event.target.value;
  rebuild();
  changed();
});
$("[data-only]", box).addEventListener("click", (event) => {
  only = !only;
  event.currentTarget.setAttribute("aria-pressed", only);
  rebuild();
  find();
  changed();
  if (only) search.focus();
});
$("[data-wrap]", box).addEventListener("click", (event) => {
  const row = rowAt(scroller.scrollTop);
  wrap = !wrap;
  event.currentTarget.setAttribute("aria-pressed", wrap);
  box.classList.toggle("wrapped", wrap);
  localStorage.setItem("logs.wrap", wrap ? "1" : "");
  setColumns();
  pad.style.height = `${total()}px`;
  if (!follow) scroller.scrollTop = topOf(row);
  changed();
});
$("[data-follow]", box).addEventListener("click", () => setFollow(!follow));
more.addEventListener("click", () => setFollow(true));
scroller.addEventListener("keydown", (event) => {
  if (event.key === "End") { event.preventDefault(); setFollow(true); }
  else if (event.key === "Home") { event.preventDefault(); setFollow(false); scroller.scrollTop = 0; }
});

function setColumns() {
  const probe = element("div", { class: "log" }, element("time", {}, "00:00:00.000"), ...(showLevel ? [element("span", { class: "lvl" })] : []), ...(showSource ? [element("span", { class: "src" }, lines.at(-1)?.source ?? "")] : []), element("span", { class: "txt" }, "0".repeat(50)));
  rowsBox.replaceChildren(probe);
  const text = probe.lastElementChild;
  const range = document.createRange();
  range.selectNodeContents(text);
  const width = range.getBoundingClientRect().width / 50 || 7.2;
  columns = Math.max(20, Math.floor((scroller.clientWidth - (text.offsetLeft - rowsBox.offsetLeft) - 14) / width));
  measure();
}
new ResizeObserver(() => { if (wrap) setColumns(); changed(); }).observe(scroller);

// ---------------------------------------------------------------- the socket

const id = box.dataset.instanceId;
let overlap = null;             // after a reconnect: the last lines that are here already

function join() {
  const last = lines.findLast((line) => !line.gap && line.time);
  overlap = last ? { time: last.time, seen: new Set(lines.filter((line) => line.time === last.time).map((line) => line.text)) } : null;
  socket.emit("join", { instance_id: id, tail: TAIL, ...(last ? { since: last.time } : {}) });
}

function onLines(message) {
  if (message.instance_id !== id) return;
  let batch = message.lines ?? [];
  if (overlap) {
    const { time, seen } = overlap;
    const known = batch.filter(([at, , , , text]) => at < time || (at === time && seen.has(toLine([at, "", "", "", text]).text)));
    batch = batch.slice(known.length);
    if (batch.length) overlap = null;
  }
  const [levels, several] = [showLevel, showSource];
  showLevel ||= batch.some(([, , , lineLevel]) => lineLevel);
  showSource ||= new Set([...batch.map(([, , source]) => source), ...lines.slice(-1).map((line) => line.source)]).size > 1;
  if ((several !== showSource || levels !== showLevel) && wrap) setColumns();
  if (batch.length || message.dropped) add(batch, message.dropped);
}

wrap = Boolean(localStorage.getItem("logs.wrap"));
box.classList.toggle("wrapped", wrap);
$("[data-wrap]", box).setAttribute("aria-pressed", wrap);
if (wrap) setColumns();
showHits();
if (namespace && window.io) {
  socket = namespace("/logs");
  socket.on("connect", join);
  socket.on("lines", onLines);
  socket.on("problem", ({ detail }) => window.clawportal.toast(detail, "bad"));
  addEventListener("pagehide", () => socket.emit("leave", { instance_id: id }));
}
changed();
