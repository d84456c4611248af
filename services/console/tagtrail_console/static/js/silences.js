// Why tags are silent that were so before the page was opened: the list of places tells their state
// only, so the page asks for the reason of each, one after the other.
import { get } from "./api.js";

/** More silent tags than this are not asked for at once; the others follow the next time. */
const MOST = 20;

const asked = new Set();

/** Ask why tags are silent of which only that is known; `onChange` is called if anything was learned. */
export async function learnSilences(model, onChange) {
  const wanting = model.tagsHere().filter((tag) => tag.presence !== null && tag.presence !== "present" && tag.silence === null)
    .map((tag) => ({ id: tag.id, key: `${tag.id} ${tag.presence} ${tag.heardAt}` }))
    .filter(({ key }) => !asked.has(key)).slice(0, MOST);
  for (const { id, key } of wanting) {
    asked.add(key);
    const body = await get(`/v1/tags/${encodeURIComponent(id)}/explain`).catch(() => null);
    model.learnPresence(id, body?.presence);
  }
  if (wanting.length) onChange();
}
