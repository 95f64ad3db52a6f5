// Draws how the fleet did, with uPlot, out of the columns that the page carries. The table of the page says the same.

const { $, $$, language } = window.clawportal;

const box = $("#fleet");
const words = JSON.parse(box.dataset.words);
const series = JSON.parse(box.dataset.series);
const HOUR = 3600;
const PARTS = {
  states: { running: "--ok-dot", changing: "--busy-dot", stopped: "--idle-dot", failed: "--bad-dot" },
  happened: { starts: "--ok-dot", failures: "--bad-dot", exits: "--warn-dot" },
};
let charts = [];

// light-dark() has to be resolved to a colour that a canvas understands.
function colour(name) {
  const probe = document.createElement("i");
  probe.style.color = `var(${name})`;
  box.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

const clock = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(language, { month: "short", day: "numeric" });
function ticks(chart, splits, axis, space, step) {
  const days = splits.map((at) => day.format(at * 1000));
  if (step >= 86_400) return days;
  return splits.map((at, k) => clock.format(at * 1000) + (k && days[k] !== days[k - 1] ? `\n${days[k]}` : ""));
}

/** What happened, summed by the hour. */
function hourly(names) {
  const hours = new Map();
  series.at.forEach((at, k) => {
    const hour = Math.floor((at - 1) / HOUR) * HOUR;
    const row = hours.get(hour) ?? names.map(() => 0);
    names.forEach((name, n) => { row[n] += series[name][k]; });
    hours.set(hour, row);
  });
  const at = [...hours.keys()];
  return [at, ...names.map((name, n) => at.map((hour) => hours.get(hour)[n]))];
}

/** A line must not cross a time in which nothing was counted. */
function gapped(names) {
  const told = [[], ...names.map(() => [])];
  series.at.forEach((at, k) => {
    if (k && at - series.at[k - 1] > series.step * 2.5) {
      told[0].push(series.at[k - 1] + series.step);
      names.forEach((name, n) => told[n + 1].push(null));
    }
    told[0].push(at);
    names.forEach((name, n) => told[n + 1].push(series[name][k]));
  });
  return told;
}

function make(place) {
  const part = place.dataset.fleetChart;
  const names = Object.keys(PARTS[part]);
  const grid = { stroke: colour("--line"), width: 1 };
  const axis = { stroke: colour("--text-3"), grid, ticks: grid, font: "12px Inter, system-ui, sans-serif" };
  const bars = part === "happened" ? { paths: window.uPlot.paths.stepped({ align: 1 }) } : {};
  return new window.uPlot({
    width: place.clientWidth, height: 220,
    axes: [{ ...axis, values: ticks }, { ...axis, size: 48, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000] }],
    series: [
      { label: words.time, value: (chart, at) => (at == null ? "–" : new Date(at * 1000).toLocaleString(language)) },
      ...names.map((name) => ({ label: words[name], stroke: colour(PARTS[part][name]), width: 1.75, points: { show: series.at.length < 3 }, ...bars })),
    ],
    scales: { x: { time: true }, y: { range: (chart, low, high) => [0, Math.max(high * 1.1, 2)] } },
    cursor: { sync: { key: "fleet" }, drag: { x: false, y: false } }, legend: { live: true },
  }, part === "happened" ? hourly(names) : gapped(names), place);
}

function again() {
  for (const chart of charts) chart.destroy();
  charts = $$("[data-fleet-chart]", box).map(make);
}

again();
new ResizeObserver(() => { for (const chart of charts) chart.setSize({ width: chart.root.parentElement.clientWidth, height: 220 }); }).observe(box);
new MutationObserver(again).observe(document.documentElement, { attributes: true, attributeFilter: ["data-bs-theme"] });
