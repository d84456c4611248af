// Texts of the catalogue that the page carries, with {places} filled in.
const catalogue = JSON.parse(document.getElementById("texts").textContent);
const language = document.documentElement.lang || "en";
const plurals = new Intl.PluralRules(language);
const integers = new Intl.NumberFormat(language);

/** Return a text; a key that is not in the catalogue is a fault and shows as itself. */
export function t(key, values = {}) {
  return (catalogue[key] ?? key).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** Return the text `key.one` or `key.other`, as the language's grammar wants for this count. */
export function tn(key, count, values = {}) {
  return t(`${key}.${plurals.select(count)}`, { count: integers.format(count), ...values });
}

/** Return a text whose key may be missing, or the fallback. */
export function maybe(key, fallback) {
  return catalogue[key] ?? fallback;
}

export function number(value, digits = 0) {
  return new Intl.NumberFormat(language, { maximumFractionDigits: digits }).format(value);
}

export function percent(value) {
  return new Intl.NumberFormat(language, { style: "percent" }).format(value);
}
