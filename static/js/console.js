// A terminal in a running claw: xterm.js over Socket.IO. After a break the same shell goes on, with what it showed before.
//
// Socket.IO namespace /console.
//   browser -> server   open {instance_id, columns, rows, console_id?}   input {data, number}   resize {columns, rows}   close {}
//   server -> browser   opened {console_id, replay, typed}   output {data}   ended {code, reason}   problem {detail}
//
// What is typed is kept until the server has acknowledged it, also while the connection is away and when the page is left.

const { $, icon } = window.clawportal;

const box = $("#console");
const screen = $("[data-screen]", box);
const words = JSON.parse(box.dataset.words);
const key = `console.${box.dataset.instanceId}`;
const PIECE = 4096;             // a paste goes in pieces: the server takes no large messages
const MOST_KEPT = 256 * 1024;   // characters of input that wait for a connection

const terminal = new window.Terminal({
  cursorBlink: true, scrollback: 5000, fontSize: Number(localStorage.getItem("console.size")) || 13, convertEol: false,
  fontFamily: '"JetBrains Mono", ui-monospace, SFMono-Regular, Menlo, Consolas, monospace', allowProposedApi: false,
  theme: { background: "#0b0b0e", foreground: "#e6e6ec", cursor: "#9a8efb", selectionBackground: "#3a3a56" },
});
const fit = new window.FitAddon.FitAddon();
terminal.loadAddon(fit);
terminal.open(screen);

let socket = null;
let live = false;               // a shell is open
let over = false;               // it ended; only a click opens another
let closing = false;            // somebody pressed Close: however the shell takes that, it was closed

let waiting = [];               // pieces of input that the server has not acknowledged: {number, data}
let number = 0;                 // of the last piece

function type(data) {
  if (over || waiting.reduce((sum, piece) => sum + piece.data.length, data.length) > MOST_KEPT) return;
  const letters = [...data];    // never between the two halves of a letter
  for (let at = 0; at < letters.length; at += PIECE / 4) {
    const piece = { number: ++number, data: letters.slice(at, at + PIECE / 4).join("") };
    waiting.push(piece);
    if (live) send(piece);
  }
}

function send(piece) {
  socket.emit("input", piece, () => { waiting = waiting.filter((one) => one.number !== piece.number); });
}

// Numbers go on from what this shell has taken, so that what is sent again arrives once.
function sendAgain(typed) {
  waiting = waiting.filter((piece) => piece.number > typed);
  number = Math.max(typed, waiting.length ? waiting.at(-1).number : 0);
  waiting.forEach(send);
}

function forgetTyped() {
  waiting = [];
  number = 0;
}

function show(state, text) {
  $("[data-state]", box).textContent = text;
  $("[data-dot]", box).className = `dot tone-${state}`;
  $("[data-again]", box).hidden = state !== "idle";
  $("[data-end]", box).hidden = state !== "ok";
}

function open() {
  over = closing = false;
  show("busy", words.connecting);
  fit.fit();
  socket.emit("open", { instance_id: box.dataset.instanceId, columns: terminal.cols, rows: terminal.rows, console_id: sessionStorage.getItem(key) || undefined });
}

function ended(text) {
  live = false;
  over = true;
  forgetTyped();
  sessionStorage.removeItem(key);
  sessionStorage.removeItem(`${key}.typed`);
  terminal.write(`\r\n\x1b[2m${text}\x1b[0m\r\n`);
  show("idle", text);
}

function connect() {
  socket = window.io("/console", { path: `${document.body.dataset.root}/socket.io`, transports: ["websocket"], reconnectionDelay: 800, reconnectionDelayMax: 10_000, randomizationFactor: 0.5 });
  socket.on("connect", () => { if (!over) open(); });
  socket.on("disconnect", () => { if (live) show("warn", words.lost); live = false; });
  socket.on("connect_error", () => { if (!over) show("warn", words.lost); });
  socket.on("opened", ({ console_id, replay, typed }) => {
    const before = sessionStorage.getItem(key);
    const known = before === console_id;
    if (before && !known) forgetTyped();      // meant for a shell that is gone
    sessionStorage.setItem(key, console_id);
    if (known) terminal.reset();
    terminal.write(new Uint8Array(replay));
    live = true;
    sendAgain(typed);
    show("ok", words.open);
    terminal.focus();
  });
  socket.on("output", ({ data }) => terminal.write(new Uint8Array(data)));
  socket.on("ended", ({ code, reason }) => ended(closing ? words.closed : reason || (code == null ? words.closed : words.ended.replace("{code}", code))));
  socket.on("problem", ({ detail }) => { if (live) terminal.write(`\r\n\x1b[33m${detail}\x1b[0m\r\n`); else ended(detail); });
}

terminal.onData(type);
terminal.onResize(({ cols, rows }) => { if (live) socket.emit("resize", { columns: cols, rows }); });

let timer = 0;
new ResizeObserver(() => { clearTimeout(timer); timer = setTimeout(() => fit.fit(), 80); }).observe(screen);

function zoom(by) {
  terminal.options.fontSize = Math.min(28, Math.max(8, terminal.options.fontSize + by));
  localStorage.setItem("console.size", terminal.options.fontSize);
  fit.fit();
  terminal.focus();
}
$("[data-smaller]", box).addEventListener("click", () => zoom(-1));
$("[data-larger]", box).addEventListener("click", () => zoom(1));
$("[data-again]", box).addEventListener("click", () => { terminal.reset(); open(); });
$("[data-end]", box).addEventListener("click", () => { closing = true; socket.emit("close", {}); });

addEventListener("pagehide", () => {
  if (waiting.length) sessionStorage.setItem(`${key}.typed`, JSON.stringify(waiting));
});
waiting = JSON.parse(sessionStorage.getItem(`${key}.typed`)) || [];
sessionStorage.removeItem(`${key}.typed`);
number = waiting.length ? waiting.at(-1).number : 0;

document.fonts.ready.then(connect);
