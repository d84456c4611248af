// What shapes and colours mean. The shape tells how a place is known, the colour (and the mark) how
// fresh it is; no meaning hangs on a colour alone.
import { h, s } from "./dom.js";
import { t } from "./texts.js";

const SHAPES = {
  circle: "M-5.5 0a5.5 5.5 0 1 0 11 0a5.5 5.5 0 1 0-11 0z",
  square: "M-3.5-5h7a1.5 1.5 0 0 1 1.5 1.500v7a1.5 1.5 0 0 1-1.5 1.500h-7a1.5 1.5 0 0 1-1.5-1.500v-7a1.5 1.5 0 0 1 1.5-1.500z",
  triangle: "M0-6.500L6.2 4.800H-6.200z",
  diamond: "M0-6.800L6.8 0L0 6.800L-6.8 0z",
};

const BY_METHOD = {
  uwb: "circle", ble_zone: "square", reported: "triangle", gps: "triangle", read_point: "diamond", claimed: "diamond",
};

/** Return the outline of a tag's mark. A tag without coordinates is a square: somewhere in its zone. */
export function shapeOf(method, measured) {
  const shape = BY_METHOD[method] ?? "circle";
  return SHAPES[shape === "circle" && !measured ? "square" : shape];
}

const STATES = ["present", "quiet", "overdue", "missing", "unobservable"];

export function drawLegend(host) {
  const row = (mark, words) => h("li", {}, mark, h("span", {}, words));
  const mark = (shape, state) => {
    const svg = s("svg", { viewBox: "-10 -10 20 20", width: 20, height: 20, "aria-hidden": "true" },
      s("g", { class: "tag", data: { state } }, s("path", { class: "shape", d: SHAPES[shape] }), s("path", { class: "mark", d: "M-3-3L3 3M3-3L-3 3" })));
    return svg;
  };
  host.append(
    h("p", { class: "over" }, t("legend.shape")),
    h("ul", {}, Object.keys(SHAPES).map((shape) => row(mark(shape, "present"), t(`legend.${shape}`)))),
    h("p", { class: "over" }, t("legend.colour")),
    h("ul", {}, STATES.map((state) => row(mark("square", state), t(`legend.${state}`)))),
    h("p", { class: "quiet" }, t("legend.keys")),
  );
}
