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
export function maybe(key, fallback) {
  return catalogue[key] ?? fallback;
}

const formats = [0, 1, 2].map((digits) => new Intl.NumberFormat(language, { maximumFractionDigits: digits }));
const shares = new Intl.NumberFormat(language, { style: "percent" });
const order = new Intl.Collator(language, { numeric: true });

/** Return a number in the language's writing, with at most 0, 1 or 2 digits after the point. */
export const number = (value, digits = 0) => formats[digits].format(value);

export const percent = (value) => shares.format(value);

/** Compare two names as people order them: "Crate 2" comes before "Crate 10". */
export const compare = (a, b) => order.compare(a, b);
