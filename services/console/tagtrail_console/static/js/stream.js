// Server-sent events over fetch: unlike EventSource it tells why a stream ended, and notices by the
// missing keep-alives that a connection is dead although nobody closed it.
import { noteClock } from "./api.js";

const SILENCE_MS = 45_000;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;

export class Stream {
  /**
   * @param {() => Promise<string>} prepare Brings the page up to date and returns the address to follow.
   * @param {(event: {id: string|null, name: string, data: any}) => void} onEvent
   * @param {(state: "connecting"|"live"|"waiting"|"refused", cause?: Error) => void} onState
   */
  constructor(prepare, onEvent, onState) {
    this.prepare = prepare;
    this.onEvent = onEvent;
    this.onState = onState;
    this.running = false;
  }

  start() {
    if (this.running) return;
    this.running = true;
    this.#run(this.abort = new AbortController());
  }

  stop() {
    this.running = false;
    this.abort?.abort();
  }

  async #run(abort) {
    let wait = FIRST_WAIT_MS;
    while (!abort.signal.aborted) {
      try {
        this.onState("connecting");
        const address = await this.prepare();
        if (abort.signal.aborted) return;
        await this.#follow(address, abort, () => (wait = FIRST_WAIT_MS));
      } catch (cause) {
        if (abort.signal.aborted) return;
        if (cause.status === 401 || cause.status === 403) return this.onState("refused", cause);
        this.onState("waiting", cause);
      }
      await pause(wait * (0.75 + Math.random() / 2), abort.signal);
      wait = Math.min(wait * 2, LONGEST_WAIT_MS);
    }
  }

  async #follow(address, abort, onLive) {
    const cut = new AbortController();
    const give_up = () => cut.abort(new Error("silent"));
    abort.signal.addEventListener("abort", give_up, { once: true });
    let watch = setTimeout(give_up, SILENCE_MS);
    try {
      const answer = await fetch(address, { headers: { accept: "text/event-stream" }, signal: cut.signal });
      noteClock(answer);
      if (!answer.ok) throw Object.assign(new Error(`HTTP ${answer.status}`), { status: answer.status });
      this.onState("live");
      onLive();
      const parse = parser(this.onEvent);
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) throw new Error("ended");
        clearTimeout(watch);
        watch = setTimeout(give_up, SILENCE_MS);
        parse(value);
      }
    } finally {
      clearTimeout(watch);
      abort.signal.removeEventListener("abort", give_up);
      cut.abort();
    }
  }
}

function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}

/** Return a function that takes pieces of an event stream as they come, split anywhere. */
export function parser(onEvent) {
  let rest = "";
  let id = null;
  let name = "";
  let data = [];
  return (piece) => {
    const lines = (rest + piece).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (data.length) onEvent({ id, name: name || "message", data: JSON.parse(data.join("\n")) });
        name = "";
        data = [];
        continue;
      }
      const [field, value] = split(line);
      if (field === "data") data.push(value);
      else if (field === "event") name = value;
      else if (field === "id") id = value;
    }
  };
}

function split(line) {
  const colon = line.indexOf(":");
  if (colon < 0) return [line, ""];
  return [line.slice(0, colon), line.slice(colon + (line[colon + 1] === " " ? 2 : 1))];
}
