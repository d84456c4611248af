// Why a tag is said to be where it is.
import { h } from "./dom.js";

/** Return elements that show an explanation. */
export function drawExplanation(body) {
  return [h("pre", {}, JSON.stringify(body, null, 1))];
}
