// Charts of one instance over time, drawn by uPlot; the newest points come by Socket.IO while the page is open.
//
//   GET <data-url>?since=TIME&points=N -> {at: [], cpu_percent: [], cpu_percent_max: [], memory_bytes: [], ..., restarts: []}
//   Socket.IO namespace /metrics:  join {instance_id}  ->  sample {instance_id, at, cpu_percent, memory_bytes, disk_bytes}

const { $, $$, word, language } = window.clawportal;

const box = $("#metrics");
const words = JSON.parse(box.dataset.words);
const SPANS = { "1h": 3600, "6h": 21_600, "24h": 86_400, "7d": 604_800, "30d": 2_592_000, "1y": 31_536_000 };
const span = SPANS[box.dataset.span];
const limits = { cpu: Number(box.dataset.cpuLimit) || null, memory: Number(box.dataset.memoryLimit) || null };
const charts = new Map();
let held = null;                // columns as the server gave them, times in seconds

const percent = (value) => (value == null ? "–" : `${value.toLocaleString(language, { maximumFractionDigits: value < 10 ? 1 : 0 })} %`);
function size(value) {
  if (value == null) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let k = 0;
  while (value >= 1024 && k < units.length - 1) { value /= 1024; k += 1; }
  return `${value.toLocaleString(language, { maximumFractionDigits: value < 10 && k ? 1 : 0 })} ${units[k]}`;
}

// ---------------------------------------------------------------- drawing

// light-dark() has to be resolved to a colour that a canvas understands.
function colour(name) {
  const probe = document.createElement("i");
  probe.style.color = `var(${name})`;
  box.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

const faint = (found, share) => found.replace(/^rgba?\(([^)]+)\)$/, (all, inner) => `rgba(${inner.split(",").slice(0, 3).join(",")}, ${share})`);

// In the reader's language; the day only where the hours do not say it.
const clock = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(language, { month: "short", day: "numeric" });
function timeTicks(chart, splits, axis, space, step) {
  if (step >= 86_400) return splits.map((at) => day.format(at * 1000));
  const days = splits.map((at) => day.format(at * 1000));
  const said = new Set(days).size > 1 || span > 86_400;
  return splits.map((at, k) => clock.format(at * 1000) + (said && days[k] !== days[k - 1] ? `\n${days[k]}` : ""));
}

function axes(format) {
  const line = { stroke: colour("--line"), width: 1 };
  const text = colour("--text-3");
  return [
    { stroke: text, grid: line, ticks: line, font: "12px Inter, system-ui, sans-serif", values: timeTicks },
    { stroke: text, grid: line, ticks: line, size: 74, font: "12px Inter, system-ui, sans-serif", values: (chart, values) => values.map(format) },
  ];
}

/** Powers of two for bytes, so that the axis says 512 MiB and not 477. */
function byteSplits(chart, axis, low, high) {
  let step = 1024;
  while ((high - low) / step > 5) step *= 2;
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high; at += step) found.push(at);
  return found;
}

function make(place, kind, mean, highest, limit, format) {
  const main = colour("--accent");
  const made = axes(format);
  if (kind !== "cpu") made[1].splits = byteSplits;
  const series = [
    { value: (chart, value) => (value == null ? "–" : new Date(value * 1000).toLocaleString(language)), label: words.time },
    { label: words.mean, stroke: main, width: 1.75, fill: faint(main, 0.1), points: { show: false }, value: (chart, value) => format(value) },
  ];
  if (highest) series.push({ label: words.highest, stroke: faint(main, 0.45), width: 1, points: { show: false }, value: (chart, value) => format(value) });
  if (limit) series.push({ label: words.limit, stroke: colour("--bad-dot"), width: 1, dash: [6, 4], points: { show: false }, value: (chart, value) => format(value) });
  return new window.uPlot({
    width: place.clientWidth, height: 220, axes: made, series, cursor: { sync: { key: "metrics" }, drag: { x: false, y: false } },
    scales: { x: { time: true, range: () => window_() }, y: { range: (chart, low, high) => [0, Math.max(high * 1.08, kind === "cpu" ? 5 : 1024 * 1024)] } },
    legend: { live: true },
  }, data(kind), place);
}

function window_() {
  const now = Date.now() / 1000;
  return [now - span, now];
}

const COLUMNS = { cpu: ["cpu_percent", "cpu_percent_max"], memory: ["memory_bytes", "memory_bytes_max"], disk: ["disk_bytes", null] };

function data(kind) {
  const [mean, highest] = COLUMNS[kind];
  const rows = [held.at, held[mean]];
  if (highest) rows.push(held[highest]);
  if (limits[kind]) rows.push(held.at.map(() => limits[kind]));
  return rows;
}

function draw() {
  for (const place of $$("[data-chart]", box)) {
    const kind = place.dataset.chart;
    if (place.closest("[hidden]")) continue;
    const chart = charts.get(kind);
    if (chart) chart.setData(data(kind));
    else charts.set(kind, make(place, kind, ...COLUMNS[kind], limits[kind], kind === "cpu" ? percent : size));
  }
}

function again() {
  for (const chart of charts.values()) chart.destroy();
  charts.clear();
  if (held) draw();
}

// A line must not cross a time in which nothing was measured.
function withGaps(found) {
  const times = found.at.map((time) => Date.parse(time) / 1000);
  const steps = times.slice(1).map((time, k) => time - times[k]).sort((a, b) => a - b);
  const usual = Math.max(found.step, steps[steps.length >> 1] ?? 15);
  const names = Object.keys(found).filter((name) => Array.isArray(found[name]) && name !== "at");
  const told = { at: [], ...Object.fromEntries(names.map((name) => [name, []])) };
  times.forEach((time, k) => {
    if (k && time - times[k - 1] > usual * 3.5) {
      told.at.push(times[k - 1] + usual);
      for (const name of names) told[name].push(null);
    }
    told.at.push(time);
    for (const name of names) told[name].push(found[name][k]);
  });
  return told;
}

// ---------------------------------------------------------------- getting

async function load() {
  const since = new Date(Date.now() - span * 1000).toISOString();
  const problem = $("[data-problem]", box);
  try {
    const answer = await fetch(`${box.dataset.url}?since=${encodeURIComponent(since)}&points=600`, { credentials: "same-origin" });
    if (!answer.ok) throw new Error((await answer.json()).detail);
    held = withGaps(await answer.json());
    problem.hidden = true;
  } catch (error) {
    problem.textContent = error.message || word("no_answer");
    problem.hidden = false;
    return;
  }
  show();
}

function show() {
  const empty = !held.at.length;
  $("[data-nothing]", box).hidden = !empty;
  for (const panel of $$("section.panel", box)) panel.hidden = empty || ("disk" in panel.dataset && held.disk_bytes.every((value) => value == null));
  if (!empty) draw();
}

function take(sample) {
  if (!held || sample.instance_id !== box.dataset.instanceId) return;
  const at = Date.parse(sample.at) / 1000;
  if (held.at.length && at <= held.at.at(-1)) return;
  held.at.push(at);
  for (const [mean, highest] of Object.values(COLUMNS)) {
    held[mean].push(sample[mean] ?? null);
    if (highest) held[highest].push(sample[mean] ?? null);
  }
  while (held.at.length && held.at[0] < at - span - 60) for (const name of Object.keys(held)) if (Array.isArray(held[name])) held[name].shift();
  show();
}

function listen() {
  const socket = window.io("/metrics", { path: `${document.body.dataset.root}/socket.io`, transports: ["websocket"], reconnectionDelay: 1000, reconnectionDelayMax: 20_000, randomizationFactor: 0.6 });
  socket.on("connect", () => { socket.emit("join", { instance_id: box.dataset.instanceId }); load(); });
  socket.on("sample", take);
  socket.on("problem", ({ detail }) => { const place = $("[data-problem]", box); place.textContent = detail; place.hidden = false; });
}

new ResizeObserver(() => { for (const [kind, chart] of charts) chart.setSize({ width: $(`[data-chart=${kind}]`, box).clientWidth, height: 220 }); }).observe(box);
new MutationObserver(again).observe(document.documentElement, { attributes: true, attributeFilter: ["data-bs-theme"] });

load();
if (span <= 21_600) listen();
else setInterval(load, 60_000);
