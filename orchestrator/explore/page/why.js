// Tells why an answer was selected: the votes, and the scores of the chosen path against the best other one.
import { el, svg, count, mark, score } from "./dom.js";
import { line, scores, text, value, votesBy } from "./data.js";
import { chip, prose } from "./text.js";

const MEANING = {
  majority: ["the most frequent answer", "solutions"],
  best: ["the answer of the best-scored solution", "best score"],
  weighted: ["the answer whose solutions have the largest sum of scores", "sum of scores"],
  hierarchical: ["the heaviest answer within each chain of revisions, then among the chains", "sum of the won chains' best scores"],
  confident: ["the answer of the solution that the generator is surest of", "best confidence"],
  confidence_weighted: ["the answer whose solutions have the largest sum of the generator's confidence", "sum of confidences"],
  generative: ["the answer of the solution that the generator picked", "weight"],
};

function decisions(tree, rule, onrule) {
  return el("table", { class: "decisions" }, el("caption", { text: "What each rule selects" }),
    el("thead", {}, el("tr", {}, ["rule", "", "answer", "how it decides"].map((word, at) => el("th", { scope: "col", class: at === 3 ? "how" : null, text: word })))),
    el("tbody", {}, tree.rules.map((one) => el("tr", { class: one.rule === rule ? "picked" : "" },
      el("th", { scope: "row" }, el("button", { type: "button", class: "link", onclick: () => onrule(one.rule), text: one.rule })),
      el("td", {}, mark(one.correct)),
      el("td", { class: "answer" }, one.answer === null ? el("span", { class: "quiet", text: "none" }) : prose(one.answer)),
      el("td", { class: "quiet how", text: MEANING[one.rule]?.[0] ?? "" })))));
}

function ballots(votes) {
  const most = Math.max(...votes.votes.map((vote) => vote.weight ?? 0), 1e-12);
  const [, unit] = MEANING[votes.rule] ?? ["", "weight"];
  return el("table", { class: "ballots" }, el("caption", { text: `The different answers, by ${votes.rule}` }),
    el("thead", {}, el("tr", {}, ["", "answer", "solutions", unit].map((word) => el("th", { scope: "col", text: word })))),
    el("tbody", {}, votes.votes.slice(0, 60).map((vote) => el("tr", { class: vote.won ? "picked" : "" },
      el("td", {}, mark(vote.correct)),
      el("td", { class: "answer" }, prose(vote.answer), vote.won && el("span", { class: "tag", text: "selected" })),
      el("td", { class: "number", text: vote.solutions.toLocaleString("en") }),
      el("td", {}, vote.weight === null ? el("span", { class: "quiet", text: "not known" })
        : el("span", { class: "bar" }, el("span", { class: "track" }, el("span", { style: `width: ${(100 * vote.weight) / most}%` })), el("b", { text: weight(vote.weight) })))))),
    votes.votes.length > 60 && el("tfoot", {}, el("tr", {}, el("td", { colspan: 4, class: "quiet", text: `and ${votes.votes.length - 60} more` }))));
}

const weight = (value) => (value >= 1 || value === 0 ? Number(value.toPrecision(4)).toLocaleString("en") : value.toPrecision(3));

/** Says whether another choice would have been right. */
function missed(tree, votes) {
  if (votes.correct) return null;
  const other = tree.rules.filter((one) => one.correct).map((one) => one.rule);
  if (other.length) return `A right answer was found, and is selected by ${other.join(" and ")}.`;
  return tree.endings.some((one) => one.correct) ? "A right answer was found, and no rule selects it." : "No solution that was returned is right: no rule could have selected the right answer.";
}

/** Draws the scores of two paths, step by step. */
function twoLines(a, b) {
  const width = 560, height = 190, left = 34, bottom = 28;
  const most = Math.max(a.length, b.length, 2);
  const x = (at) => left + ((width - left - 12) * at) / (most - 1), y = (one) => 8 + (height - bottom - 8) * (1 - one);
  const path = (points) => points.map((one, at) => `${at ? "L" : "M"}${x(at).toFixed(1)} ${y(one).toFixed(1)}`).join("");
  const every = Math.ceil(most / 12);
  return svg("svg", { class: "lines", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Scores by step. Chosen: ${a.map(score).join(", ")}. Other: ${b.map(score).join(", ")}.` },
    [0, 0.5, 1].map((one) => [svg("path", { class: "grid", d: `M${left} ${y(one)}H${width - 8}` }), svg("text", { x: left - 6, y: y(one) + 4, "text-anchor": "end", text: one })]),
    Array.from({ length: most }, (_, at) => (at % every ? null : svg("text", { x: x(at), y: height - 10, "text-anchor": "middle", text: at + 1 }))),
    svg("text", { x: width - 8, y: height, "text-anchor": "end", class: "quiet", text: "step" }),
    svg("path", { class: "line-b", d: path(b) }), b.map((one, at) => svg("rect", { class: "mark-b", x: x(at) - 4, y: y(one) - 4, width: 8, height: 8 })),
    svg("path", { class: "line-a", d: path(a) }), a.map((one, at) => svg("circle", { class: "mark-a", cx: x(at), cy: y(one), r: 4.5 })));
}

/** Returns the best-scored node that leads to no returned solution. */
function bestPruned(tree) {
  return tree.nodes.filter((node) => node.fate === "dropped" && value(node) !== null)
    .reduce((best, node) => (best === null || value(node) > value(best) ? node : best), null);
}

function side(tree, name, node, scored, ending, onpick) {
  const way = node ? (node.revision ? [node] : line(tree, node)) : [];
  return el("section", {},
    el("h4", {}, el("span", { class: `sign ${name === "chosen" ? "a" : "b"}` }), ` ${name} `, ending && mark(ending.correct), " ",
      node && el("button", { type: "button", class: "link", onclick: () => onpick(node), text: `show ${node.path} in the tree` })),
    ending?.answer != null && el("p", {}, "answer: ", el("b", {}, prose(ending.answer))),
    way.length ? el("ol", { class: "steps" }, way.flatMap((one) => one.pieces).map((piece) => el("li", {}, chip(piece.score), prose(piece.text))))
      : el("p", { class: "quiet", text: "its steps are not in the journal" }),
    !scored.length && el("p", { class: "quiet", text: "without scores" }));
}

function against(tree, votes, onpick) {
  const chosen = tree.endings[votes.chosen], rival = tree.endings[votes.rival];
  if (!chosen) return el("p", { class: "quiet", text: "This rule selects no answer." });
  const chosenNode = tree.nodes[chosen.node];
  const pruned = rival ? null : bestPruned(tree);
  const otherNode = rival ? tree.nodes[rival.node] : pruned;
  const a = chosen.step_scores.length ? chosen.step_scores : [];
  const b = rival ? rival.step_scores : pruned ? scores(tree, pruned) : [];
  const what = rival ? "the best-scored solution with another answer" : pruned ? "the best-scored path that was pruned (all solutions have the chosen answer)" : null;
  return el("div", {},
    el("h3", { text: "The verifier's scores, step by step" }),
    el("p", { class: "quiet", text: what ? `The best-scored solution with the chosen answer (circles) against ${what} (squares).` : "There is nothing to compare with: all solutions have this answer, and nothing was pruned." }),
    (a.length > 0 || b.length > 0) && twoLines(a, b),
    el("div", { class: "sides" }, side(tree, "chosen", chosenNode, a, chosen, onpick), what && side(tree, rival ? "rejected" : "pruned", otherNode, b, rival, onpick)));
}

/** Returns the pane that tells why a rule selects its answer. */
export function whyPane(tree, rule, onrule, onpick) {
  const votes = votesBy(tree, rule);
  if (!votes) return el("p", { class: "quiet", text: "This search has not ended: nothing was selected." });
  const winner = votes.votes.find((vote) => vote.won);
  return el("div", {},
    el("p", { class: "lead" }, mark(votes.correct), ` By ${votes.rule}, `, votes.answer === null ? "no answer is selected"
      : ["the answer is ", el("b", {}, prose(votes.answer)), winner && `: ${count(winner.solutions, "solution")} of ${tree.endings.reduce((sum, one) => sum + one.times, 0).toLocaleString("en")} ${winner.solutions === 1 ? "has" : "have"} it`], "."),
    missed(tree, votes) && el("p", { text: missed(tree, votes) }),
    el("div", { class: "wide" }, decisions(tree, votes.rule, onrule)), el("div", { class: "wide" }, ballots(votes)), against(tree, votes, onpick));
}
