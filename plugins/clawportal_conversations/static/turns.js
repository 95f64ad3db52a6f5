// One message of a conversation on the page: its words, how the claw came to them, what it took, and what can be done with it.

const { element, icon } = window.clawportal;
const rendered = window.clawportal.markdown;
const words = JSON.parse(document.getElementById("talk-words").textContent);

/** A word of this page, with `{name}` filled in. */
function said(key, values = {}) {
  return (words[key] ?? key).replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);
}


const PLAIN_WHILE_LIVE = 60_000;   // characters; Markdown of more is made once, when the answer is whole

/** Puts a message into the page and keeps it as it is told. */
class Turn {
  /** `pictures(path)`: where an attached one is shown. */
  constructor(message, name, mine, pictures) {
    this.pictures = pictures;
    this.message = message;
    this.body = element("div", { class: "bubble" });
    this.row = element("div", { class: "turn", "data-id": message.id });
    this.row.dataset.position = message.position;
    this.mine = mine;
    if (message.role === "person") {
      this.row.classList.add("mine");
      if (!mine) this.row.classList.add("other");
    } else this.row.append(element("span", { class: "tile", "aria-hidden": "true" }, (name || "?").slice(0, 1)));
    this.row.append(this.body);
    this.draw();
  }

  get live() { return this.message.state === "running"; }

  /** More of an answer that is under way; drawn with the next picture. */
  more(kind, data) {
    const message = this.message;
    if (!this.live) return;
    if (kind === "delta") { message.text += data.text; settle(message.steps); }
    else if (kind === "thinking") think(message.steps, data.text);
    else if (kind === "tool") use(message.steps, data);
    else if (kind === "usage") message.usage = data;
    this.drawing ||= requestAnimationFrame(() => { this.drawing = 0; this.draw(); this.drawn?.(); });
  }

  become(message) {
    cancelAnimationFrame(this.drawing);
    this.drawing = 0;
    this.message = message;
    this.draw();
  }

  draw() {
    const { message } = this;
    this.row.classList.toggle("live", this.live);
    this.row.classList.toggle("failed", ["failed", "interrupted"].includes(message.state));
    if (message.role === "person") return this.drawPerson();
    const open = new Set([...this.body.querySelectorAll("details[open]")].map((one) => one.dataset.step));
    const steps = message.steps.map((step, k) => shown(step, k, open));
    const text = this.live && message.text.length > PLAIN_WHILE_LIVE ? element("pre", { class: "plain" }, message.text) : rendered(message.text);
    const waiting = this.live && !message.text && !steps.length ? [element("span", { class: "meta" }, said("thinking"))] : [];
    this.body.replaceChildren(...steps, text, ...waiting, ...this.foot());
  }

  drawPerson() {
    const { message } = this;
    const author = this.mine ? [] : [element("div", { class: "meta" }, message.author)];
    const files = message.files.map((path) => this.file(path));
    this.body.replaceChildren(...author, message.text, ...files);
    if (this.mine) this.body.append(element("div", { class: "talk-do" }, button("edit", "edit", said("edit"))));
  }

  /** A picture as such, where it is one; anything else by its name. */
  file(path) {
    const name = path.split("/").at(-1).replace(/^[0-9a-f]{6}-/, "");
    const named = element("div", { class: "meta talk-file", title: path }, icon("paperclip", "ico-sm"), element("span", { class: "clip" }, name));
    if (!/\.(?:png|jpe?g|gif|webp)$/i.test(name)) return named;
    const shown = element("img", { class: "talk-picture", src: this.pictures(path), alt: name, loading: "lazy" });
    const link = element("a", { class: "talk-shown", href: this.pictures(path), target: "_blank", rel: "noopener", title: said("opens", { name }) }, shown);
    shown.addEventListener("error", () => link.replaceWith(named), { once: true });
    shown.addEventListener("load", () => this.drawn?.(), { once: true });
    return link;
  }

  foot() {
    const { message } = this;
    if (this.live) return [];
    const note = [message.reason || { stopped: said("stopped"), interrupted: said("interrupted"), failed: said("failed") }[message.state], message.remedy].filter(Boolean).join(" ");
    const made = note ? [element("div", { class: "meta" }, note)] : [];
    const broken = message.state === "failed" || message.state === "interrupted";
    if (broken) {
      made.push(element("button", { type: "button", class: "btn btn-sm", "data-again": message.id }, icon("refresh"), said("again")));
    }
    const usage = message.usage;
    const spent = usage ? [said("tokens", { i: usage.input_tokens, o: usage.output_tokens }), usage.cost_usd == null ? "" : said("cost", { n: usage.cost_usd.toFixed(4) }), usage.model] : [];
    const line = element("div", { class: "talk-do" });
    if (message.text) line.append(button("copy", "copy", said("copy")));
    if (!broken) line.append(button("retry", "refresh", said("again")));
    line.append(element("span", { class: "meta" }, spent.filter(Boolean).join(" · ")));
    return [...made, line];
  }
}

function button(what, symbol, title) {
  return element("button", { type: "button", class: "btn btn-quiet btn-sm square", "data-do": what, "aria-label": title, title }, icon(symbol, "ico-sm"));
}

// ---------------------------------------------------------------- how the claw came to it; the portal keeps it in the same way

function settle(steps) {
  const last = steps.at(-1);
  if (last?.kind === "thinking" && last.seconds == null) last.seconds = since(last);
}

const since = (step) => Math.max(0, Math.round((Date.now() - Date.parse(step.at)) / 100) / 10);

function think(steps, text) {
  const last = steps.at(-1);
  if (last?.kind === "thinking" && last.seconds == null) last.text += text;
  else steps.push({ kind: "thinking", text, at: new Date().toISOString(), seconds: null });
}

function use(steps, data) {
  settle(steps);
  const begun = steps.findLast((one) => one.kind === "tool" && one.id === data.id);
  if (begun && data.state !== "begun") Object.assign(begun, { state: data.state, output: data.output, seconds: since(begun) });
  else steps.push({ kind: "tool", ...data, at: new Date().toISOString(), seconds: null });
}

function shown(step, k, open) {
  const about = step.seconds == null ? "" : said("seconds", { n: step.seconds });
  const made = element("details", { class: `talk-step ${step.state ?? ""}`, "data-step": k, open: open.has(String(k)) });
  if (step.kind === "thinking") {
    const title = step.seconds == null ? said("thought_on") : said("thought", { n: step.seconds });
    made.append(element("summary", {}, icon("brain", "ico-sm"), title), element("pre", { class: "plain" }, step.text));
    return made;
  }
  const title = said({ begun: "uses", failed: "tool_failed" }[step.state] ?? "used", { name: step.name });
  made.append(element("summary", {}, icon(step.state === "failed" ? "alert-triangle" : "tool", "ico-sm"), title, element("span", { class: "faint" }, ` ${about}`)));
  if (step.input) made.append(element("div", { class: "tiny faint" }, said("given")), element("pre", { class: "plain" }, step.input));
  if (step.output) made.append(element("div", { class: "tiny faint" }, said("answered")), element("pre", { class: "plain" }, step.output));
  return made;
}

// Scripts of one page share a name instead of importing each other: each is fetched by the hash of its content.
window.talk = { said, Turn };
