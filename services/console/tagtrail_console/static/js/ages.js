// Every state is shown with its age. Ages follow the server's clock, not the browser's.
import { serverNow } from "./api.js";
import { UNKNOWN, known, number, t } from "./texts.js";

const UNITS = [[86400, "age.d"], [3600, "age.h"], [60, "age.min"], [0, "age.s"]];

/** Return the milliseconds since 1970 of a time as the services write it; null if there is none. */
export function timeOf(text) {
  const time = text ? Date.parse(text) : NaN;
  return Number.isNaN(time) ? null : time;
}

/** Return the age of a time in seconds, never negative; null if the time is unknown. */
export function ageOf(time) {
  return time === null ? null : Math.max(0, (serverNow() - time) / 1000);
}

/** Return an age in words: "12 s", "3 min"; a dash if it is not known. */
export function inWords(seconds) {
  if (!known(seconds)) return UNKNOWN;
  const [size, key] = UNITS.find(([least]) => Math.max(seconds, 0) >= least);
  return t(key, { n: Math.floor(Math.max(seconds, 0) / (size || 1)) });
}

/** Return a time between things in words; unlike an age it may be less than a second. */
export function every(seconds) {
  return seconds > 0 && seconds < 1 ? t("age.s", { n: number(seconds, 1) }) : inWords(seconds);
}

/** Return how long ago a time was, in words. */
export function ago(time) {
  const age = ageOf(time);
  if (age === null) return t("age.never");
  return age < 2 ? t("age.now") : t("age.ago", { age: inWords(age) });
}

/** Return a <time> element that keeps telling its age, and the moment itself on hover. */
export function ageElement(time, zone, words = ago) {
  const element = document.createElement("time");
  element.className = "age";
  if (time === null) {
    element.textContent = words(null);
    return element;
  }
  element.dateTime = new Date(time).toISOString();
  element.title = moment(time, zone);
  element.textContent = words(time);
  living.set(element, () => words(time));
  return element;
}

/** Return an element that tells the age of a time as a plain duration: "12 s". */
export const durationElement = (time, zone) => ageElement(time, zone, (at) => inWords(ageOf(at)));

/** Return a moment in the site's time, with its zone. */
export function moment(time, zone) {
  const timeZone = zone || "UTC";
  if (!calendars.has(timeZone)) calendars.set(timeZone, new Intl.DateTimeFormat(document.documentElement.lang, { ...CALENDAR, timeZone }));
  return calendars.get(timeZone).format(time);
}

const CALENDAR = {
  year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit",
  hourCycle: "h23", timeZoneName: "short",
};
const calendars = new Map();

const living = new Map();

/** Renew the words of all shown ages; forget those that left the page. */
export function tick() {
  for (const [element, words] of living) {
    if (!element.isConnected) living.delete(element);
    else {
      const next = words();
      if (element.textContent !== next) element.textContent = next;
    }
  }
}
