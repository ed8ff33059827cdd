// Shows one node of a search: the text on the way to it, its scores and its cost; chains of revisions side by side.
import { el, flops, count, mark } from "./dom.js";
import { fate, line, text, value } from "./data.js";
import { chip, pieceBlock, prose } from "./text.js";
import { again } from "./time.js";

const FINISH = { step: "at the end of a step", thought: "at the end of thinking", end: "by the model itself", length: "by its greatest length" };

function facts(tree, node) {
  const verified = node.verifier_flops ? `, its score ${flops(node.verifier_flops)}` : "";
  return el("p", { class: "facts quiet" },
    `${node.revision ? "revision" : "sample"} ${node.path} · ${fate(tree, node)} · ${count(node.tokens, "token")}, `,
    `ended ${FINISH[node.finish] ?? node.finish} · the sample cost ${flops(node.flops)}${verified}`,
    tree.events.filter((event) => event.node === node.index && again(event)).map((event) => el("span", { class: "warning" }, ` · ${event.kind} ${again(event)}`)));
}

/** Returns the attempts of a chain of revisions beside each other, with what each changed in the one before. */
function chain(tree, node, onpick) {
  let last = node;
  while (last.children.some((child) => child.revision)) last = last.children.find((child) => child.revision);
  const attempts = line(tree, last);
  return el("div", { class: "chain" }, attempts.map((attempt, at) =>
    el("section", { class: attempt === node ? "picked" : "", tabindex: 0, onclick: () => onpick(attempt) },
      el("h4", {}, `attempt ${at + 1} `, chip(value(attempt)), " ", attempt.ending && mark(attempt.ending.correct)),
      attempt.changes.length
        ? el("div", { class: "prose", dir: "auto" }, attempt.changes.map((change) =>
            change.sort === "=" ? change.text : el(change.sort === "+" ? "ins" : "del", { text: change.text })))
        : prose(text(attempt)))));
}

/** Returns the pane of a node: what was written on the way to it, the node's own text last. */
export function nodePane(tree, node, onpick) {
  if (!node) return el("p", { class: "quiet", text: "Pick a node to read it." });
  const ending = node.ending;
  const answer = ending && el("p", {}, mark(ending.correct), ending.answer === null ? " no answer could be read" : " answer: ",
    ending.answer !== null && el("b", {}, prose(ending.answer)));
  if (node.revision) {
    return el("div", {}, facts(tree, node), answer, chain(tree, node, onpick),
      el("p", { class: "quiet", text: "Struck words were in the attempt before; underlined ones are new." }));
  }
  const way = line(tree, node);
  const above = way.slice(0, -1);
  return el("div", {},
    facts(tree, node), answer,
    above.length > 0 && el("details", { open: above.length < 40 },
      el("summary", { text: `${count(above.length, "step")} before this one` }),
      above.map((one) => el("div", { class: "above", onclick: () => onpick(one) }, one.pieces.map(pieceBlock)))),
    el("div", { class: "own" }, node.pieces.length ? node.pieces.map(pieceBlock) : el("span", { class: "quiet", text: "no text" })));
}
