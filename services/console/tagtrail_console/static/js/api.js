// The services' public API, through the console's own address; the session's cookie goes along.
const BASE = "/console/api";
const PAGE = 1000;
const MOST_PAGES = 20;

let ahead_ms = 0;

/** The server's time, milliseconds since 1970, as its answers tell it. */
export const serverNow = () => Date.now() + ahead_ms;

export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || body.title || `HTTP ${status}`);
    this.status = status;
  }
}

export function url(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined);
  const text = new URLSearchParams(given).toString();
  return BASE + path + (text ? `?${text}` : "");
}

async function asked(address, options) {
  const answer = await fetch(address, { ...options, headers: { accept: "application/json", ...options?.headers } });
  noteClock(answer);
  if (answer.status === 401) document.dispatchEvent(new Event("session-over"));
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Problem(answer.status, body);
  return body;
}

/** Learn the server's clock from an answer. Its header has whole seconds: take the middle of one. */
export function noteClock(answer) {
  const date = Date.parse(answer.headers.get("date") ?? "");
  if (Number.isNaN(date)) return;
  const difference = date + 500 - Date.now();
  ahead_ms = Math.abs(difference) < 1500 ? 0 : difference;
}

export const get = (path, query) => asked(url(path, query));

/** Get a whole list, page by page. The result has the items and the oldest log position they show. */
export async function list(path, query = {}) {
  const items = [];
  let after = null;
  let position = null;
  for (let page = 0; page < MOST_PAGES; page += 1) {
    const body = await get(path, { limit: PAGE, ...query, after });
    items.push(...body.items);
    position ??= body.as_of_position ?? null;
    after = body.next ?? null;
    if (after === null) break;
  }
  return { items, position };
}

export function post(path, body) {
  const random = crypto.getRandomValues(new Uint8Array(16));
  const key = Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return asked(url(path), {
    method: "POST",
    headers: { "content-type": "application/json", "idempotency-key": key },
    body: JSON.stringify(body),
  });
}
