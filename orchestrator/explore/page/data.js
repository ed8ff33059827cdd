// Unpacks the data of the page: the runs at once, each search when it is looked at.
import { live } from "./live.js";

/** Of values that hold others: by field, what those are. */
const PARTS = {
  Explored: { rows: "Row", replicas: "Replica", costs: "Cost", work: "Work" },
  Work: { pools: "PoolWork" },
  Tree: { nodes: "TreeNode", events: "Event", endings: "Ending", rules: "RuleVotes", costs: "Cost" },
  TreeNode: { pieces: "Piece", changes: "Change" },
  RuleVotes: { votes: "Vote" },
};
const FIELDS = JSON.parse(document.getElementById("fields").textContent);
const unpacked = new Map();

/** Returns an array as an object with the names of its fields. */
export function named(shape, values) {
  const parts = PARTS[shape] ?? {};
  const object = {};
  FIELDS[shape].forEach((field, at) => {
    const value = values[at];
    const nested = parts[field] && value !== null && value !== undefined;
    object[field] = !nested ? value : parts[field] === "Work" ? named("Work", value) : value.map((one) => named(parts[field], one));
  });
  return object;
}

async function unpack(id) {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).json();
}

/** Returns the runs of the page. */
export async function readRuns() {
  return (await unpack("runs")).map((values) => named("Explored", values));
}

async function ask(run, problem) {
  const answer = await fetch(`tree?${new URLSearchParams({ run, problem })}`);
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

/** Returns the search that a row is of; `run` is its run's name. Of a run that goes on, as it is now. */
export async function readTree(run, row) {
  const id = live ? `${run} ${row.problem}` : `tree-${row.run}-${row.index}`;
  const known = unpacked.get(id);
  if (known && known.row.flops === row.flops && known.row.ended === row.ended) return known.tree;
  if (unpacked.size > 50) unpacked.clear();
  const tree = linked(named("Tree", live ? await ask(run, row.problem) : await unpack(id)));
  unpacked.set(id, { tree, row });
  return tree;
}

/** Adds to a search what follows from it: children, depths, copies, and the order of what happened. */
function linked(tree) {
  const { nodes, events } = tree;
  nodes.forEach((node, index) => {
    const above = nodes[node.above];
    Object.assign(node, { index, children: [], copies: [], ending: null, born: Infinity, judged: Infinity });
    node.depth = above ? above.depth + 1 : 1;
    if (node.fate === "copy") nodes[node.first].copies.push(node);
    if (above) above.children.push(node);
  });
  const said = (number) => (number < 0 ? null : tree.answers[number]); // each text is in the data once
  for (const one of [...tree.endings, ...tree.rules, ...tree.rules.flatMap((rule) => rule.votes)]) one.answer = said(one.answer);
  for (const node of nodes) if (node.fate === "copy") node.pieces = nodes[node.first].pieces;
  for (const ending of tree.endings) if (ending.node >= 0) nodes[ending.node].ending = ending;
  let spent = tree.costs.filter((cost) => cost.what === "prompt")
    .reduce((sum, cost) => sum + cost.generator + cost.verifier, 0);
  tree.opening = spent;
  events.forEach((event, at) => {
    spent += event.flops;
    Object.assign(event, { spent, verifier: event.kind === "score" });
    const node = nodes[event.node];
    if (!node) return;
    if (event.verifier) node.judged = Math.min(node.judged, at);
    else node.born = at;
  });
  tree.spent = spent;
  tree.top = nodes.filter((node) => node.above < 0);
  return tree;
}

/** Returns the nodes from the first sample to this one. */
export function line(tree, node) {
  const found = [];
  for (let at = node; at; at = tree.nodes[at.above]) found.unshift(at);
  return found;
}

/** Returns the last score of a node's text; null where it has none. */
export function value(node) {
  for (let at = node.pieces.length - 1; at >= 0; at -= 1) {
    if (node.pieces[at].score !== null && node.pieces[at].score !== undefined) return node.pieces[at].score;
  }
  return null;
}

/** Returns the text of a node. */
export const text = (node) => node.pieces.map((piece) => piece.text).join("");

/** Returns the scores of the steps on the way to a node. */
export function scores(tree, node) {
  const way = node.revision ? [node] : line(tree, node);
  return way.flatMap((one) => one.pieces).map((piece) => piece.score).filter((one) => one !== null && one !== undefined);
}

/** Returns the decision of a rule about a search. */
export const votesBy = (tree, rule) => tree.rules.find((one) => one.rule === rule) ?? tree.rules[0] ?? null;

/** Returns the nodes on the path that a rule has chosen. */
export function chosenPath(tree, rule) {
  const ending = tree.endings[votesBy(tree, rule)?.chosen ?? -1];
  return new Set(ending && ending.node >= 0 ? line(tree, tree.nodes[ending.node]) : []);
}

/** Returns in words what became of a node. */
export function fate(tree, node) {
  switch (node.fate) {
    case "returned": return `a solution that the search returned${node.ending.times > 1 ? `, ${node.ending.times} times` : ""}`;
    case "kept": return "kept: it leads to a solution that the search returned";
    case "copy": return `equal to its earlier sibling ${tree.nodes[node.first].path}, and merged with it`;
    case "open": return live ? "the search goes on: what becomes of it is not known yet" : "the run ended before this search did: what became of it is not known";
    default: return node.children.length
      ? "pruned: it was continued, and no solution that was returned comes from it"
      : node.finish === "end" || node.finish === "length" ? "finished, and not returned" : "pruned: it was not continued";
  }
}
