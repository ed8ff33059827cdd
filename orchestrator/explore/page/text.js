// Shows what models wrote, as it is: white space kept, each line in its own direction, nothing executed.
import { el, score } from "./dom.js";

const FORMULA = /\$\$([\s\S]+?)\$\$|\\\[([\s\S]+?)\\\]|\\\(([\s\S]+?)\\\)|\$(?=\S)([^$\n]*?\S)\$(?!\d)/g;
const LONGEST = 2000; // characters of a formula that is rendered
const FORMULAS = 400; // formulas of one text that are rendered
let raw = false;

/** Says whether formulas are shown as they were written. */
export function showRaw(wanted) { raw = wanted; }

/** Returns whether the page has what renders formulas. */
export const canRender = () => typeof katex !== "undefined";

/** Returns a text as an element, its formulas rendered. */
export function prose(text) {
  const block = el("span", { class: "prose", dir: "auto" });
  if (raw || !canRender()) {
    block.textContent = text;
    return block;
  }
  let at = 0, done = 0;
  for (const match of text.matchAll(FORMULA)) {
    const formula = match[1] ?? match[2] ?? match[3] ?? match[4];
    if (formula.length > LONGEST || done >= FORMULAS) continue;
    const place = el("span", { title: match[0] });
    try {
      const displayMode = match[1] !== undefined || match[2] !== undefined;
      katex.render(formula, place, { output: "mathml", displayMode, trust: false, strict: "ignore", maxExpand: 200 });
    } catch {
      continue; // what is no formula stays the text that it is
    }
    block.append(text.slice(at, match.index), place);
    at = match.index + match[0].length;
    done += 1;
  }
  block.append(text.slice(at));
  return block;
}

// Cividis (Nuñez, Anderton and Renslow 2018): even steps of lightness, alike for the colour-blind.
const STOPS = ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838"];

/** Returns the colour of a score in [0, 1]; "none" where there is none. */
export function colour(value) {
  if (value === null || value === undefined) return "none";
  const at = Math.max(0, Math.min(1, value)) * (STOPS.length - 1), low = Math.floor(at);
  const [from, to] = [STOPS[low], STOPS[Math.min(low + 1, STOPS.length - 1)]];
  const mixed = [1, 3, 5].map((byte) => {
    const [a, b] = [parseInt(from.slice(byte, byte + 2), 16), parseInt(to.slice(byte, byte + 2), 16)];
    return Math.round(a + (b - a) * (at - low));
  });
  return `rgb(${mixed.join(" ")})`;
}

/** Returns a score as a number on its colour. */
export function chip(value, what = "verifier's score") {
  if (value === null || value === undefined) return null;
  return el("span", { class: "chip", title: `${what}: ${value}` },
    el("span", { class: "swatch", style: `background: ${colour(value)}` }), score(value));
}

const TAGS = { thinking: "thinking", given: "written by the strategy, not sampled" };

/** Returns a piece of a node's text with its score. */
export function pieceBlock(piece) {
  const sort = TAGS[piece.sort];
  const missing = piece.sort === "given" && !piece.text;
  return el("div", { class: `piece ${piece.sort}` },
    el("div", { class: "piece-head" }, sort && el("span", { class: "tag", text: sort }), chip(piece.score)),
    missing ? el("span", { class: "quiet", text: "its text is not recorded" }) : prose(piece.text));
}
