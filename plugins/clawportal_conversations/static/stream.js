// The events of a conversation, followed from a number on: taken up again where they broke off, let go while nobody looks.

const { send, goToLogin } = window.clawportal;

const AGAIN = 1500;   // milliseconds after a failure

class Stream {
  /** `address`: of the conversation; `hear(kind, number, data)`; `lost()` when the conversation is there no more. */
  constructor(address, after, hear, lost) {
    Object.assign(this, { address, after, hear, lost, running: null, ended: false });
    document.addEventListener("visibilitychange", () => (document.hidden ? this.running?.abort() : this.follow()));
    this.follow();
  }

  end() {
    this.ended = true;
    this.running?.abort();
  }

  async follow() {
    if (this.running || this.ended || document.hidden) return;
    const running = this.running = new AbortController();
    let wait = 0;
    try {
      wait = await this.once(running.signal);
    } catch {
      wait = AGAIN;
    }
    this.running = null;
    if (!this.ended && !document.hidden) setTimeout(() => this.follow(), wait);
  }

  async once(signal) {
    const answer = await send(`${this.address}/events`, { signal, headers: { Accept: "text/event-stream", "Last-Event-ID": String(this.after) } });
    if (answer.status === 401) return goToLogin();
    if (answer.status === 404) { this.end(); return this.lost(); }
    if (!answer.ok) return Number(answer.headers.get("Retry-After") || 3) * 1000;
    for await (const [kind, number, data] of events(answer.body)) {
      if (number <= this.after && kind !== "reset") continue;
      this.after = number;
      this.hear(kind, number, data);
    }
    return 0;
  }
}

/** Events of a stream as [name, id, data]. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    rest += value ?? "";
    const blocks = rest.split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const found = { data: "" };
      for (const line of block.split("\n")) {
        const colon = line.indexOf(":");
        if (colon > 0) found[line.slice(0, colon)] = line.slice(colon + 1).replace(/^ /, "");
      }
      if (found.data) yield [found.event ?? "message", Number(found.id), JSON.parse(found.data)];
    }
    if (done) return;
  }
}

window.talk.Stream = Stream;
