// Live changes: the server only says which ids changed; the parts of the page that show them ask for themselves again.
//
// Socket.IO namespace /changes, websocket only. Server -> browser: `changed` {"instances": [id], "operations": [id]}.
// A live part:  <div data-live="instances" data-live-id="ID" hx-get="..." hx-trigger="live" ...>
//   data-live      "instances" or "operations" (or both, separated by a space)
//   data-live-id   only changes of this id; without it every change of that kind

const { $, $$, word } = window.clawportal;

const QUIET = 150;          // wait for more changes before asking
const PACE = 500;           // and never ask more often than this for one part,
const SHARE = 5;            // nor keep the server busy with it for more than a fifth of the time
const POLL = 15_000;        // without a socket
const LATE = 30_000;        // an answer that is away longer is not waited for
// By the id of a part where it has one: an answer may put another element in its place.
const due = new Map();      // -> timer
const asked = new Map();    // -> when
const took = new Map();     // -> milliseconds
const asking = new Set();
const again = new Set();    // changed while it asked
let socket = null;
let everLive = false;
let lostSince = 0;

function matches(part, changed) {
  return part.dataset.live.split(" ").some((kind) => {
    const ids = changed[kind] ?? [];
    return ids.length && (!part.dataset.liveId || ids.includes(part.dataset.liveId));
  });
}

const name = (part) => part.id || part;
const found = (key) => (typeof key === "string" ? document.getElementById(key) : key.isConnected ? key : null);

function refresh(part) {
  const key = name(part);
  if (due.has(key)) return;
  const pace = Math.max(PACE, SHARE * (took.get(key) ?? 0));
  const wait = Math.max(QUIET, pace - (Date.now() - (asked.get(key) ?? 0)));
  due.set(key, setTimeout(() => {
    due.delete(key);
    const now = found(key);
    if (!now) return;
    if (document.hidden || busy(now)) { now.dataset.stale = ""; return; }
    if (asking.has(key) && Date.now() - asked.get(key) < LATE) { again.add(key); return; }
    delete now.dataset.stale;
    window.htmx.trigger(now, "live");
  }, wait));
}

// Not under the hands of somebody: while a menu is open in it, or a question is asked about a button that would be replaced.
const busy = (part) => Boolean(part.querySelector("details.menu[open]") || document.querySelector("dialog[open]"));
document.addEventListener("htmx:beforeSwap", (event) => {
  const part = event.detail.target;
  if (!part.matches?.("[data-live]") || event.detail.requestConfig?.elt !== part) return;
  // What the part shows was narrowed while it asked: the answer is to the question before.
  const outdated = event.detail.requestConfig.path !== part.getAttribute("hx-get");
  if (!outdated && !busy(part)) return;
  event.detail.shouldSwap = false;
  part.dataset.stale = "";
  if (outdated) refresh(part);
});

document.addEventListener("htmx:beforeSend", (event) => {
  const part = event.detail.elt;
  if (!part.matches("[data-live]")) return;
  asking.add(name(part));
  asked.set(name(part), Date.now());
});
document.addEventListener("htmx:afterRequest", (event) => {
  const key = name(event.detail.requestConfig?.elt ?? event.target);
  if (!asking.delete(key)) return;
  took.set(key, Date.now() - asked.get(key));
  const now = again.delete(key) && found(key);
  if (now) refresh(now);
});

// What asks by itself again and again says  data-quiet  and waits while nobody looks.
document.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden && event.detail.elt.matches("[data-quiet]")) event.preventDefault();
});

function onChanged(changed) {
  for (const part of $$("[data-live]")) if (matches(part, changed)) refresh(part);
}
const refreshAll = () => { for (const part of $$("[data-live]")) refresh(part); };

const catchUp = () => { for (const part of $$("[data-live][data-stale]")) refresh(part); };
document.addEventListener("visibilitychange", () => { if (!document.hidden) catchUp(); });
document.addEventListener("close", catchUp, true);      // of a dialog
document.addEventListener("toggle", (event) => {
  const part = event.target.closest?.("[data-live][data-stale]");
  if (part && !event.target.open) refresh(part);
}, true);
// The answer to a request of this page may carry  HX-Trigger: {"changed": {"instances": ["id"]}}
document.addEventListener("changed", (event) => onChanged(event.detail));

function show(state) {
  for (const mark of $$("[data-link-state]")) {
    mark.dataset.state = state;
    $("span", mark).textContent = word({ live: "live", lost: "lost", polling: "polling" }[state]);
  }
}

// A blink of the network is not worth a banner; five seconds are.
function watchLoss() {
  const lost = lostSince && Date.now() - lostSince > 5000;
  for (const banner of $$("[data-offline]")) banner.hidden = !(lost && everLive);
}

function connect() {
  socket = window.io("/changes", {
    path: `${document.body.dataset.root}/socket.io`, transports: ["websocket"], reconnectionDelay: 1000, reconnectionDelayMax: 20_000, randomizationFactor: 0.6, timeout: 10_000,
  });
  socket.on("connect", () => {
    everLive = true;
    lostSince = 0;
    show("live");
    watchLoss();
    refreshAll();      // what happened while nobody listened: since the page was made, or since the connection was lost
  });
  socket.on("changed", onChanged);
  socket.on("disconnect", (why) => {
    lostSince = Date.now();
    show("lost");
    if (why === "io server disconnect") setTimeout(() => socket.connect(), 2000 + Math.random() * 6000);
  });
  socket.on("connect_error", (error) => {
    lostSince ||= Date.now();
    show(everLive ? "lost" : "polling");
    if (error.message === "unauthenticated") socket.disconnect();
    // A refusal by the server ends socket.io's own attempts; try again, spread out.
    else if (!socket.active) setTimeout(() => socket.connect(), 5000 + Math.random() * 10_000);
  });
}

setInterval(watchLoss, 1000);
setInterval(() => {
  if (!socket?.connected && !document.hidden) refreshAll();
}, POLL);

if (window.io) connect();
window.clawportal.namespace = (name) => window.io(name, {
  path: `${document.body.dataset.root}/socket.io`, transports: ["websocket"], reconnectionDelay: 1000, reconnectionDelayMax: 20_000, randomizationFactor: 0.6,
});
