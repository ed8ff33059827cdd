// Makes elements and writes numbers. Text only ever reaches the page through `textContent`.

const SVG = "http://www.w3.org/2000/svg";

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "text") node.textContent = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Returns an HTML element; `on…` attributes are listeners, `text` is its text. */
export function el(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** Returns an SVG element, as `el` does. */
export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

/** Returns a select box of [value, label] pairs. */
export function select(label, options, value, onchange) {
  return el("label", { class: "field" }, label || null,
    el("select", { onchange: (event) => onchange(event.target.value) },
      options.map(([key, text]) => el("option", { value: key, selected: key === value, text }))));
}

/** Returns a number to so many digits after the point, as the other pages write it: of two that are as near, the even one. */
export function rounded(value, digits) {
  const halves = value * 2 ** (digits + 1), below = Math.floor(value * 10 ** digits); // `toFixed` alone takes the larger one
  const tie = Number.isInteger(halves) && halves % 2 !== 0;
  return tie && below % 2 === 0 ? below / 10 ** digits : Number(value.toFixed(digits));
}

/** Returns a number with three digits and an SI prefix: 3.3 M, 60.8 G. */
export function si(value, unit = "") {
  if (value === null || value === undefined) return "–";
  const prefixes = ["", "k", "M", "G", "T", "P", "E", "Z", "Y"];
  let size = Math.abs(value), at = 0;
  while (size >= 999.5 && at < prefixes.length - 1) { size /= 1000; at += 1; }
  const digits = rounded(size, size >= 100 ? 0 : size >= 10 ? 1 : 2);
  return `${value < 0 ? "−" : ""}${digits.toLocaleString("en")} ${prefixes[at]}${unit}`.trim();
}

export const flops = (value) => si(value, "FLOPs");
export const count = (value, noun) => `${value.toLocaleString("en")} ${noun}${value === 1 ? "" : "s"}`;
export const seconds = (value) => (value === null ? "–" : `${Number(value.toPrecision(3)).toLocaleString("en")} s`);
export const percent = (value) => `${rounded(100 * value, 1).toFixed(1)} %`;
export const score = (value) => (value === null || value === undefined ? "no score" : value.toFixed(3));

/** Returns the pixels that a drawing has across, at most `most`: letters in it are then as large as others. */
export function room(most) {
  const place = document.getElementById("problem"), style = getComputedStyle(place);
  const inside = place.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  return Math.max(240, Math.min(most, inside > 0 ? inside : innerWidth - 20));
}

/** Returns the first characters of a text, on one line. */
export function head(text, most = 90) {
  const line = text.replace(/\s+/g, " ").trim();
  return [...line.slice(0, 2 * most)].length > most ? `${[...line.slice(0, 2 * most)].slice(0, most).join("")}…` : line;
}

/** Returns a mark for right or wrong that does not depend on colour. */
export function mark(correct, what = "") {
  return el("span", { class: correct ? "right" : "wrong", title: `${what}${correct ? "right" : "wrong"}`,
    text: correct ? "✓" : "✗" });
}
