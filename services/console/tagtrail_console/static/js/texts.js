// Texts of the catalogue that the page carries, with {places} filled in.
const catalogue = JSON.parse(document.getElementById("texts").textContent);
const language = document.documentElement.lang || "en";
const plurals = new Intl.PluralRules(language);

/** Return a text; a key that is not in the catalogue is a fault and shows as itself. */
export function t(key, values = {}) {
  return (catalogue[key] ?? key).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** Return the text `key.one` or `key.other`, as the language's grammar wants for this count. */
export function tn(key, count, values = {}) {
  return t(`${key}.${plurals.select(count)}`, { count: number(count), ...values });
}

/** Return a text whose key may be missing, or the fallback. */
export function maybe(key, fallback, values = {}) {
  return key in catalogue ? t(key, values) : fallback;
}

const formats = [0, 1, 2].map((digits) => new Intl.NumberFormat(language, { maximumFractionDigits: digits }));
const shares = new Intl.NumberFormat(language, { style: "percent" });
const order = new Intl.Collator(language, { numeric: true });

/** What stands where a figure is not known: services leave out what does not apply. */
export const UNKNOWN = "–";

/** Whether a figure is known. */
export const known = (value) => typeof value === "number" && Number.isFinite(value);

/** Return a number in the language's writing, with at most 0, 1 or 2 digits after the point. */
export const number = (value, digits = 0) => (known(value) ? formats[digits].format(value) : UNKNOWN);

/** Return a share in percent; never 0 % or 100 % of what is only nearly so. */
export function percent(value) {
  if (!known(value)) return UNKNOWN;
  if (value > 0 && value < 0.005) return `<${shares.format(0.01)}`;
  if (value < 1 && value >= 0.995) return `>${shares.format(0.99)}`;
  return shares.format(value);
}

/** Compare two names as people order them: "Crate 2" comes before "Crate 10". */
export const compare = (a, b) => order.compare(a, b);
