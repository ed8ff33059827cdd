// Joins the parts: the head, the list, and the problem that is looked at.
import { el, count, flops, mark, percent, seconds, select } from "./dom.js";
import { readRuns, readTree, votesBy } from "./data.js";
import { canRender, prose, showRaw } from "./text.js";
import { drawList, joined, letter, right } from "./list.js";
import { drawTree, legend, treeOptions } from "./tree.js";
import { player } from "./play.js";
import { nodePane } from "./reader.js";
import { whyPane } from "./why.js";
import { timePane } from "./time.js";
import { moneyPane } from "./money.js";

const TABS = { search: "search", why: "why this answer", time: "order and replicas", money: "where FLOPs went" };
const THEMES = { auto: "as the system", light: "light", dark: "dark" };
const KEYS = [["/", "filter the problems"], ["j k", "next, previous problem"], ["1 2 3 4", "search, why, order, FLOPs"], ["arrows", "walk through the tree, once it has the focus (t)"], ["space", "play, pause"], ["?", "these keys"]];

const runs = await readRuns();
const items = joined(runs);
const state = { run: 0, problem: null, node: null, tab: "search", rule: runs[0].rules[0] ?? "weighted", which: "distinct", words: "", filter: "all", sort: "order", raw: false };
const place = document.getElementById("problem");
let rooms = {}, list = null, playing = null, drawn = null, current = null, wanted = 0;

// -- where one is, in the address --------------------------------------------------------------------

function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  if (given.get("problem")) state.problem = given.get("problem");
  state.run = Math.min(runs.length - 1, Number(given.get("run")) || 0);
  if (given.get("tab") in TABS) state.tab = given.get("tab");
  state.node = given.get("node");
  if (runs.some((run) => run.rules.includes(given.get("rule")))) state.rule = given.get("rule");
}

function writeAddress() {
  const values = { problem: state.problem, run: state.run || null, tab: state.tab === "search" ? null : state.tab, node: state.node, rule: state.rule };
  const address = new URLSearchParams(Object.entries(values).filter(([, value]) => value !== null));
  try {
    history.replaceState(null, "", `#${address}`);
  } catch { /* a page inside another has no address of its own */ }
}

// -- the head ----------------------------------------------------------------------------------------

function theme(value) {
  document.documentElement.dataset.theme = value;
  try { localStorage.setItem("ttc-theme", value); } catch { /* a page inside another may keep nothing */ }
}

function kept() {
  try { return localStorage.getItem("ttc-theme") ?? "auto"; } catch { return "auto"; }
}

function headOf(run, at) {
  const solved = run.rows.filter((row) => right(run, row, state.rule)).length;
  const spent = run.spent === null ? "" : ` · ${flops(run.spent)} spent${run.budget ? `, ${percent(run.spent / run.budget)} of the budget` : ""}`;
  return el("div", { class: "run" },
    el("p", {}, runs.length > 1 && el("b", { text: `${letter(at)} ` }), el("b", { text: run.run }), ` · ${run.strategy}`,
      run.rows.length > 0 && ` · ${solved.toLocaleString("en")} of ${count(run.rows.length, "problem")} right by ${state.rule} (${percent(solved / run.rows.length)})`, spent,
      run.seconds !== null && ` · ${seconds(run.seconds)}`),
    run.notes.map((note) => el("p", { class: "warning", text: note })),
    el("details", {}, el("summary", { text: "what was run" }),
      el("dl", {}, run.about.map(([name, value]) => [el("dt", { text: name }), el("dd", { text: value })]))));
}

function drawHead() {
  const rules = [...new Set(runs.flatMap((run) => run.rules))];
  document.getElementById("head").replaceChildren(
    el("div", { class: "title" }, el("h1", { text: "Search explorer" }),
      el("div", { class: "controls" },
        rules.length > 0 && select("rule ", rules.map((rule) => [rule, rule]), state.rule, pickRule),
        canRender() && select("formulas ", [["shown", "rendered"], ["raw", "as written"]], state.raw ? "raw" : "shown", (value) => { state.raw = value === "raw"; showRaw(state.raw); show(); }),
        select("theme ", Object.entries(THEMES), document.documentElement.dataset.theme, theme),
        el("button", { type: "button", onclick: () => keys.showModal(), text: "keys ?" }))),
    ...runs.map(headOf), keys);
}

const keys = el("dialog", {}, el("h2", { text: "Keys" }), el("dl", {}, KEYS.map(([key, what]) => [el("dt", {}, el("kbd", { text: key })), el("dd", { text: what })])),
  el("form", { method: "dialog" }, el("button", { text: "close" })));

// -- one problem ---------------------------------------------------------------------------------------

function pickRule(rule) {
  state.rule = rule;
  drawHead();
  list.refresh();
  show();
}

function pickProblem(problem) {
  if (problem !== state.problem) state.node = null;
  state.problem = problem;
  document.body.classList.add("reading");
  list.mark(problem);
  show();
}

function question(item, row, tree, run) {
  const votes = votesBy(tree, state.rule);
  const others = runs.length > 1 && el("p", { class: "switch" }, item.rows.map((one, at) => one && el("button", {
    type: "button", "aria-pressed": at === state.run, onclick: () => { state.run = at; state.node = null; list.refresh(); show(); } },
  `${letter(at)} ${runs[at].strategy} `, mark(right(runs[at], one, state.rule)))));
  return el("section", { class: "question" },
    el("h2", {}, el("button", { type: "button", class: "back", onclick: () => document.body.classList.remove("reading"), text: "← problems" }),
      row.ended && mark(right(run, row, state.rule)), ` ${item.problem}`),
    others,
    row.error !== null && el("p", { class: "warning", text: `The search failed: ${row.error}` }),
    row.exhausted && el("p", { class: "warning", text: "The budget ended this search early." }),
    el("div", { class: "asked" },
    el("div", { class: "prompt" }, tree.prompt ? prose(tree.prompt) : el("span", { class: "quiet", text: "its text is not known" }),
      tree.reply && el("p", { class: "quiet" }, "each answer begins with: ", prose(tree.reply))),
    el("div", { class: "answers" },
      el("div", {}, el("span", { class: "quiet", text: "right answer" }), prose(tree.expected || "–"), tree.also.map((other) => el("p", {}, el("span", { class: "quiet", text: "or " }), prose(other)))),
      votes && el("div", {}, el("span", { class: "quiet", text: `selected by ${votes.rule}` }), votes.answer === null ? "none " : prose(votes.answer), " ", mark(votes.correct)))),
    el("p", { class: "quiet" }, [row.difficulty !== null && `difficulty ${row.difficulty}`, row.attributes, count(row.nodes, "sample"), `${count(row.endings, "solution")} returned`, `${flops(row.flops)} spent`, seconds(row.seconds)].filter(Boolean).join(" · ")));
}

function searchPane(tree, run) {
  const frame = el("div", { class: "tree" }), pane = el("div", { class: "reader", "aria-live": "polite" });
  const on = { pick: (node) => pickNode(tree, node, pane) };
  playing = player(tree, run.share, (at) => drawn.at(at));
  const options = treeOptions(tree, state, (which) => { state.which = which; show(); });
  const sides = tree.nodes.some((node) => node.revision) ? "beside stacked" : "beside"; // attempts need the width
  const element = el("div", {}, el("div", { class: "controls" }, options), el("div", { class: sides }, el("div", { class: "drawing" }, playing.element, frame, legend(tree)), pane));
  return { element, ready() { // its width is known once it is on the page
    rooms[sides] ||= frame.clientWidth;
    drawn = drawTree(frame, tree, state, rooms[sides], on);
    const ending = tree.endings[votesBy(tree, state.rule)?.chosen ?? -1];
    const chosen = ending && tree.nodes[ending.node];
    pickNode(tree, tree.nodes.find((node) => node.path === state.node) ?? chosen ?? tree.nodes[0], pane, false);
  } };
}

function pickNode(tree, node, pane, address = true) {
  if (!node) return pane.replaceChildren(el("p", { class: "quiet", text: "Nothing was sampled." }));
  state.node = node.path;
  drawn.pick(node);
  pane.replaceChildren(nodePane(tree, node, (other) => pickNode(tree, other, pane)));
  if (address) writeAddress();
}

function showNode(node) {
  state.node = node.path;
  if (node.fate === "dropped" && state.which === "kept") state.which = "distinct";
  openTab("search");
}

function openTab(tab) {
  state.tab = tab;
  show();
}

async function show() {
  const item = items.find((one) => one.problem === state.problem);
  if (!item) {
    place.replaceChildren(el("p", { class: "quiet", text: "Pick a problem." }));
    return;
  }
  if (!item.rows[state.run]) state.run = item.rows.findIndex(Boolean);
  const row = item.rows[state.run], run = runs[state.run], turn = ++wanted;
  const tree = await readTree(state.run, row.index);
  if (turn !== wanted) return; // another one was picked meanwhile
  current = tree;
  const tabs = el("div", { class: "tabs", role: "tablist" }, Object.entries(TABS).map(([key, label]) =>
    el("button", { type: "button", role: "tab", "aria-selected": key === state.tab ? "true" : "false", "data-tab": key, onclick: () => openTab(key), text: label })));
  playing = drawn = null;
  const panes = {
    search: () => searchPane(tree, run),
    why: () => ({ element: whyPane(tree, state.rule, pickRule, showNode) }),
    time: () => ({ element: timePane(tree, run, row, showNode) }),
    money: () => ({ element: moneyPane(tree, run) }),
  };
  const pane = panes[state.tab]();
  place.replaceChildren(question(item, row, tree, run), tabs, el("section", { role: "tabpanel", class: `pane ${state.tab}` }, pane.element));
  pane.ready?.();
  place.dataset.ready = `${state.run} ${item.problem} ${state.tab}`;
  writeAddress();
}

// -- keys ------------------------------------------------------------------------------------------------

addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input[type=search], select, dialog");
  if (event.ctrlKey || event.metaKey || event.altKey || typing) {
    if (event.key === "Escape" && typing) event.target.blur();
    return;
  }
  const actions = {
    "/": () => document.getElementById("filter").focus(), "?": () => keys.showModal(),
    j: () => list.step(1), k: () => list.step(-1),
    t: () => place.querySelector(".tree svg")?.focus(),
    " ": () => (event.target.closest?.("button, a, summary") ? null : playing?.toggle()),
  };
  Object.keys(TABS).forEach((tab, at) => { actions[String(at + 1)] = () => openTab(tab); });
  const act = actions[event.key];
  if (!act) return;
  if (event.key !== " " || !event.target.closest?.("button, a, summary")) event.preventDefault();
  act();
});
addEventListener("hashchange", () => { readAddress(); list.mark(state.problem); show(); });
let resized = null;
addEventListener("resize", () => { clearTimeout(resized); resized = setTimeout(() => { rooms = {}; if (state.tab === "search" && current) show(); }, 150); });

theme(kept());
readAddress();
const asked = state.problem !== null;
drawHead();
list = drawList(document.getElementById("list"), runs, items, state, pickProblem, () => {});
if (asked) document.body.classList.add("reading");
else state.problem = items[0]?.problem ?? null;
list.mark(state.problem);
await show();
document.documentElement.dataset.opened = Math.round(performance.now());
