// Shows where the FLOPs of a search, or of the whole run, went.
import { el, flops, percent } from "./dom.js";

const WHAT = {
  prompt: "prompts and given text", kept: "kept: on the way to a returned solution", dropped: "pruned", copy: "copies of earlier samples",
  choice: "generative selection", open: "not decided: the search has not ended",
};
const BESIDE = { baseline: "samples without any search", judge: "judging answers" };
const BINS = 5;
const ORDER = Object.keys(WHAT);

function summed(costs, by) {
  const sums = new Map();
  for (const cost of costs) {
    const key = by(cost);
    const sum = sums.get(key) ?? { generator: 0, verifier: 0 };
    sum.generator += cost.generator;
    sum.verifier += cost.verifier;
    sums.set(key, sum);
  }
  return sums;
}

/** Returns a bar of named parts, its whole as wide as `share` of the room. */
function bar(parts, share) {
  const total = parts.reduce((sum, [, value]) => sum + value, 0) || 1;
  return el("div", { class: "stack", style: `width: ${Math.max(0.5, 100 * share)}%` },
    parts.filter(([, value]) => value > 0).map(([name, value, label]) =>
      el("span", { class: `part on-${name}`, style: `width: ${(100 * value) / total}%`, title: `${label}: ${flops(value)}, ${percent(value / total)}` })));
}

function byDepth(costs) {
  const depths = [...new Set(costs.map((cost) => cost.depth))].sort((a, b) => a - b);
  const total = (depth) => costs.filter((cost) => cost.depth === depth).reduce((sum, cost) => sum + cost.generator + cost.verifier, 0);
  const most = Math.max(...depths.map(total), 1);
  return el("div", { class: "wide" }, el("table", { class: "depths" }, el("caption", { text: "By depth: samples from the root" }),
    el("tbody", {}, depths.map((depth) => {
      const here = costs.filter((cost) => cost.depth === depth).sort((a, b) => ORDER.indexOf(a.what) - ORDER.indexOf(b.what));
      const parts = here.flatMap((cost) => [[`${cost.what} generator`, cost.generator, `${WHAT[cost.what]}, generator`], [`${cost.what} verifier`, cost.verifier, `${WHAT[cost.what]}, verifier`]]);
      return el("tr", {}, el("th", { scope: "row", text: depth === 0 ? "prompt" : depth }), el("td", { class: "wide-cell" }, bar(parts, total(depth) / most)), el("td", { class: "number", text: flops(total(depth)) }));
    }))));
}

function byWhat(costs) {
  const whole = costs.reduce((sum, cost) => sum + cost.generator + cost.verifier, 0) || 1;
  const sums = summed(costs, (cost) => cost.what);
  const cells = (generator, verifier) => [generator, verifier, generator + verifier].map((value) => el("td", { class: "number", text: flops(value) }));
  const all = summed(costs, () => "all").get("all") ?? { generator: 0, verifier: 0 };
  return el("div", { class: "wide" }, el("table", {}, el("caption", { text: "By what became of it" }),
    el("thead", {}, el("tr", {}, ["", "generator", "verifier", "together", "share"].map((word) => el("th", { scope: "col", text: word })))),
    el("tbody", {}, ORDER.filter((what) => sums.has(what)).map((what) => {
      const { generator, verifier } = sums.get(what);
      return el("tr", {}, el("th", { scope: "row" }, el("span", { class: `swatch part on-${what} generator` }), " ", WHAT[what]),
        cells(generator, verifier), el("td", { class: "number", text: percent((generator + verifier) / whole) }));
    })),
    el("tfoot", {}, el("tr", {}, el("th", { scope: "row", text: "all that was charged" }), cells(all.generator, all.verifier), el("td", { class: "number", text: "100 %" })))));
}

/** Returns a table of what the searches that have ended took, by fifths of the problems' difficulty; null where it has no order. */
function byDifficulty(run) {
  const rows = run.rows.filter((row) => row.ended && row.difficulty !== null).sort((a, b) => a.difficulty - b.difficulty);
  if (new Set(rows.map((row) => row.difficulty)).size < 2) return null;
  const bins = [];
  let from = 0;
  for (let at = 1; at <= BINS; at += 1) { // equal difficulties stay together
    let to = Math.round((rows.length * at) / BINS);
    while (to < rows.length && to > 0 && rows[to].difficulty === rows[to - 1].difficulty) to += 1;
    if (to > from) bins.push(rows.slice(from, to));
    from = Math.max(from, to);
  }
  const sum = (bin) => bin.reduce((all, row) => all + row.flops, 0), whole = sum(rows) || 1;
  return el("div", { class: "wide" }, el("table", { class: "bins" }, el("caption", { text: "By difficulty, the easiest first" }),
    el("thead", {}, el("tr", {}, ["difficulty", "problems", "FLOPs", "a problem", "share"].map((word) => el("th", { scope: "col", text: word })))),
    el("tbody", {}, bins.map((bin) => el("tr", {}, el("th", { scope: "row", text: [...new Set([bin[0].difficulty, bin.at(-1).difficulty])].map((one) => Number(one.toPrecision(3))).join(" to ") }),
      [bin.length.toLocaleString("en"), flops(sum(bin)), flops(sum(bin) / bin.length), percent(sum(bin) / whole)].map((text) => el("td", { class: "number", text })))))));
}

/** Returns the pane about FLOPs: of the search, then of the run. */
export function moneyPane(tree, run) {
  const spent = (costs) => costs.reduce((sum, cost) => sum + cost.generator + cost.verifier, 0);
  const share = run.share ? ` An equal share of the budget is ${flops(run.share)}.` : "";
  const budget = run.budget ? `, of a budget of ${flops(run.budget)}` : "";
  return el("div", {},
    el("h3", { text: `This search: ${flops(spent(tree.costs))}` }), el("p", { class: "quiet", text: `Solid is the generator, striped the verifier.${share}` }),
    byWhat(tree.costs), byDepth(tree.costs),
    el("h3", { text: `The whole run: ${flops(spent(run.costs))}${budget}` }),
    run.beside.length > 0 && el("p", {}, `Beside the budget: ${run.beside.map(([what, value]) => `${BESIDE[what] ?? what} ${flops(value)}`).join(", ")}.`),
    byWhat(run.costs), byDepth(run.costs), byDifficulty(run));
}
