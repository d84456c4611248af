// Locate's codes for why a tag stays or moved, as words for people.
import { maybe, t } from "./texts.js";

const KINDS = {
  first_zone: "new", corrected: "moved", left_beyond_tolerance: "moved", left_after_timeout: "moved", crossed: "moved",
  read: "told", claimed: "told", outside_all_zones: "outside",
  never_heard: "unknown", undecided: "unknown", timeout: "unknown", zone_retired: "unknown",
};

/** Return what a reason did: "stays", "moved", "new", "told", "outside" or "unknown". */
export const kindOf = (reason) => KINDS[reason] ?? "stays";

/** Return a reason as a sentence; one that this page does not know is told as the service says it. */
export function reasonWords(reason, { sentence, zone, other, led }) {
  return maybe(`reason.${reason}`, sentence ?? reason ?? "", {
    zone: zone ?? t("explain.its_zone"), other: other ?? t("explain.another_zone"), led: led ?? t("explain.a_moment"),
  });
}

/** Return why a silent tag is thought to be silent; null if there is nothing to say. */
export function causeWords(cause, sentence = null) {
  return cause ? maybe(`cause.${cause}`, sentence ?? cause) : null;
}
