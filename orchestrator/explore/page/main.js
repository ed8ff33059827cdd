// Joins the parts: the head, the list, and the problem that is looked at.
import { el, count, flops, mark, percent, seconds, select } from "./dom.js";
import { follow, followRun, followed, live, mayChange, openFinished } from "./live.js";
import { named, readRuns, readTree, votesBy } from "./data.js";
import { canRender, prose, showRaw } from "./text.js";
import { drawList, joined, letter, right } from "./list.js";
import { drawTree, legend, treeOptions } from "./tree.js";
import { player } from "./play.js";
import { nodePane } from "./reader.js";
import { whyPane } from "./why.js";
import { timePane } from "./time.js";
import { moneyPane } from "./money.js";
import { workPart } from "./work.js";

const TABS = { search: "search", why: "why this answer", time: "order and replicas", money: "where FLOPs went" };
const THEMES = { auto: "as the system", light: "light", dark: "dark" };
const KEYS = [["/", "filter the problems"], ["j k", "next, previous problem"], ["1 2 3 4", "search, why, order, FLOPs"], ["arrows", "walk through the tree, once it has the focus (t)"], ["space", "play, pause"], ["?", "these keys"]];

const runs = live ? [] : await readRuns();
const items = joined(runs);
const now = { names: [], problems: 0, start: [], fault: null, over: null, follows: false }; // of a run that goes on
const state = { run: 0, problem: null, node: null, tab: "search", rule: runs[0]?.rules[0] ?? "weighted", which: "distinct", words: "", strategy: "", filter: "all", sort: live ? "newest" : "order", raw: false };
const place = document.getElementById("problem");
const narrow = matchMedia("(max-width: 46rem)"); // no room for list and problem, as the style has it
let leadsBack = false; // whether Back leads to the list
let rooms = {}, rulesShown = "", list = null, playing = null, drawn = null, current = null, wanted = 0;

// -- where one is, in the address --------------------------------------------------------------------

function readAddress(hash = location.hash) {
  const given = new URLSearchParams(hash.slice(1));
  if (given.get("problem")) state.problem = given.get("problem");
  state.run = Math.min(runs.length - 1, Number(given.get("run")) || 0);
  if (given.get("tab") in TABS) state.tab = given.get("tab");
  state.node = given.get("node");
  if (runs.some((run) => run.rules.includes(given.get("rule")))) state.rule = given.get("rule");
}

function writeAddress() {
  const values = { problem: state.problem, run: state.run || null, tab: state.tab === "search" ? null : state.tab, node: state.node, rule: state.rule };
  const address = new URLSearchParams(Object.entries(values).filter(([, value]) => value !== null));
  note("replaceState", `#${address}`);
}

/** Notes where one is among the pages that Back leads to. Returns whether that could be noted. */
function note(how, address) {
  try {
    history[how]({ reading: reading(), follows: now.follows }, "", address);
  } catch { return false; } // a page inside another has no address of its own
  return true;
}

/** Returns whether a problem covers the list, where there is no room for both. */
const reading = () => document.body.classList.contains("reading");

/** Opens the problem over the list; Back leads to where one was. */
function openReading() {
  document.body.classList.add("reading");
  leadsBack = note("pushState", location.hash);
  if (narrow.matches) place.scrollIntoView();
}

function closeReading() {
  if (leadsBack) history.back();
  else document.body.classList.remove("reading");
}

// -- the head ----------------------------------------------------------------------------------------

function theme(value) {
  document.documentElement.dataset.theme = value;
  try { localStorage.setItem("ttc-theme", value); } catch { /* a page inside another may keep nothing */ }
}

function kept() {
  try { return localStorage.getItem("ttc-theme") ?? "auto"; } catch { return "auto"; }
}

/** Returns how many problems are right, of those whose search has ended. */
function solvedOf(run) {
  const ended = run.rows.filter((row) => row.ended), solved = ended.filter((row) => right(run, row, state.rule)).length;
  const all = Math.max(run.rows.length, now.problems);
  if (!ended.length) return all > 0 && ` · no search of ${count(all, "problem")} has ended`;
  const rest = ended.length < all ? `, ${ended.length.toLocaleString("en")} of ${all.toLocaleString("en")} have ended` : "";
  const share = ended.length ? ` (${percent(solved / ended.length)})` : "";
  return all > 0 && ` · ${solved.toLocaleString("en")} of ${count(ended.length, "problem")} right by ${state.rule}${share}${rest}`;
}

function headOf(run, at) {
  const spent = run.spent === null ? "" : ` · ${flops(run.spent)} spent${run.budget ? `, ${percent(run.spent / run.budget)} of the budget` : ""}`;
  return el("div", { class: "run" },
    el("p", {}, runs.length > 1 && el("b", { text: `${letter(at)} ` }), el("b", { text: run.run }), ` · ${run.strategy}`,
      solvedOf(run), spent,
      run.seconds !== null && ` · ${seconds(run.seconds)}`),
    live && stateOfRun(),
    run.report && reportOf(run),
    run.notes.map((note) => el("p", { class: "warning", text: note })),
    el("details", {}, el("summary", { text: "what was run" }),
      el("dl", {}, run.about.map(([name, value]) => [el("dt", { text: name }), el("dd", { text: value })]))),
    workPart(run));
}

/** Says where the report of a run is, and what makes it where it was not there yet. */
function reportOf(run) {
  const said = "its report: what the search bought", inside = window !== window.top; // there a link leads nowhere
  return (!inside || run.report_by) && el("p", {}, inside ? said : el("a", { href: run.report, text: said }), run.report_by && [", once ", el("kbd", { text: run.report_by }), " has made it"]);
}

function drawHead() {
  const rules = [...new Set(runs.flatMap((run) => run.rules))];
  rulesShown = rules.join();
  document.getElementById("head").replaceChildren(
    el("div", { class: "title" }, el("h1", { text: "Search explorer" }),
      el("div", { class: "controls" },
        live && now.names.length > 1 && select("run ", [["", "the one at work"], ...now.names.map((name) => [name, name])], followed(), pickRun),
        live && now.over === null && el("label", { class: "field" }, el("input", { type: "checkbox", id: "follow", checked: now.follows, onchange: (event) => follows(event.target.checked) }), " show the search at work"),
        rules.length > 0 && select("rule ", rules.map((rule) => [rule, rule]), state.rule, pickRule),
        canRender() && select("formulas ", [["shown", "rendered"], ["raw", "as written"]], state.raw ? "raw" : "shown", (value) => { state.raw = value === "raw"; showRaw(state.raw); show(); }),
        select("theme ", Object.entries(THEMES), document.documentElement.dataset.theme, theme),
        el("button", { type: "button", onclick: () => keys.showModal(), text: "keys ?" }))),
    el("div", { id: "overview" }, runs.map(headOf)), keys);
}

function nowFollows(wished) {
  now.follows = wished;
  const box = document.getElementById("follow");
  if (box) box.checked = wished;
}

/** Shows the search at work from now on, or no longer. */
function follows(wished) {
  nowFollows(wished);
  if (!wished || !items.length) return;
  openReading();
  if (!goWhereWorkIs()) show();
}

/** Says how far the start of the engines is; nothing once they are up. */
function startOf() {
  const [first, ...rest] = now.start;
  return first && [el("p", { class: "start" }, el("span", { class: "pulse" }), ` Engines start: ${first}`),
    rest.length > 0 && el("ul", { class: "start" }, rest.map((line) => el("li", { text: line })))];
}

/** Says whether the run goes on. */
function stateOfRun() {
  const said = { gone: "The run has ended, or was cut short: this is what it had found so far.", finished: "The run has ended." };
  return [el(now.over ? "p" : "div", { class: now.over ? "warning" : "quiet", role: "status" }, now.over ? said[now.over] : startOf() ?? [el("span", { class: "pulse" }), " The run goes on, and this page with it."]),
    now.fault && el("p", { class: "warning", text: `The page cannot go on: ${now.fault}` })];
}

const keys = el("dialog", {}, el("h2", { text: "Keys" }), el("dl", {}, KEYS.map(([key, what]) => [el("dt", {}, el("kbd", { text: key })), el("dd", { text: what })])),
  el("form", { method: "dialog" }, el("button", { text: "close" })));

// -- one problem ---------------------------------------------------------------------------------------

function pickRule(rule) {
  state.rule = rule;
  redrawRuns(true);
  list.refresh();
  show();
}

/** Shows the problem that is picked; where it is not only stepped to, Back leads to the one before. */
function pickProblem(problem, stepped = false) {
  nowFollows(false);
  if (!reading() || (problem !== state.problem && !stepped)) openReading();
  openProblem(problem);
}

function openProblem(problem) {
  if (problem !== state.problem) state.node = null;
  state.problem = problem;
  list.mark(problem);
  show();
}

function question(item, row, tree, run) {
  const votes = votesBy(tree, state.rule);
  const others = runs.length > 1 && el("p", { class: "switch" }, item.rows.map((one, at) => one && el("button", {
    type: "button", "aria-pressed": at === state.run, onclick: () => { state.run = at; state.node = null; list.refresh(); show(); } },
  `${letter(at)} ${runs[at].strategy} `, mark(right(runs[at], one, state.rule)))));
  return el("section", { class: "question" },
    el("h2", {}, el("button", { type: "button", class: "back", onclick: closeReading, text: "← problems" }),
      row.ended && mark(right(run, row, state.rule)), ` ${item.problem}`),
    others,
    !row.ended && live && now.over === null && el("p", { class: "quiet" }, el("span", { class: "pulse" }), " This search goes on."),
    row.error !== null && el("p", { class: "warning", text: `The search failed: ${row.error}` }),
    row.exhausted && el("p", { class: "warning", text: "The budget ended this search early." }),
    el("div", { class: "asked" },
    el("div", { class: "prompt" }, tree.prompt ? prose(tree.prompt) : el("span", { class: "quiet", text: "its text is not known" }),
      tree.reply && el("p", { class: "quiet" }, "each answer begins with: ", prose(tree.reply))),
    el("div", { class: "answers" },
      el("div", {}, el("span", { class: "quiet", text: "right answer" }), prose(tree.expected || "–"), tree.also.map((other) => el("p", {}, el("span", { class: "quiet", text: "or " }), prose(other)))),
      votes && el("div", {}, el("span", { class: "quiet", text: `selected by ${votes.rule}` }), votes.answer === null ? "none " : prose(votes.answer), " ", mark(votes.correct)))),
    el("p", { class: "quiet" }, [row.strategy && `the policy chose ${row.strategy}`, row.difficulty !== null && `difficulty ${row.difficulty}`, row.attributes, count(tree.nodes.length, "sample"), row.ended && `${count(row.endings, "solution")} returned`, `${flops(row.ended ? row.flops : tree.spent)} spent`, row.seconds !== null && seconds(row.seconds)].filter(Boolean).join(" · ")));
}

function searchPane(tree, run, again) {
  const frame = el("div", { class: "tree" }), pane = el("div", { class: "reader", "aria-live": "polite" });
  const on = { pick: (node) => pickNode(tree, node, pane) };
  const stood = again ? playing?.stands() : null;
  playing = player(tree, run.share, (at) => drawn.at(at), stood);
  const options = treeOptions(tree, state, (which) => { state.which = which; show(); });
  const sides = tree.nodes.some((node) => node.revision) ? "beside stacked" : "beside"; // attempts need the width
  const element = el("div", {}, el("div", { class: "controls" }, options), el("div", { class: sides }, el("div", { class: "drawing" }, playing.element, frame, legend(tree)), pane));
  return { element, ready() { // its width is known once it is on the page
    rooms[sides] ||= frame.clientWidth;
    drawn = drawTree(frame, tree, state, rooms[sides], on);
    const ending = tree.endings[votesBy(tree, state.rule)?.chosen ?? -1];
    const chosen = ending && tree.nodes[ending.node];
    if (playing.stands() !== null) drawn.at(playing.stands());
    pickNode(tree, tree.nodes.find((node) => node.path === state.node) ?? chosen ?? tree.nodes[0], pane, false, !again);
  } };
}

function pickNode(tree, node, pane, address = true, into = true) {
  if (!node) return pane.replaceChildren(el("p", { class: "quiet", text: "Nothing was sampled." }));
  state.node = node.path;
  drawn.pick(node, into);
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

/** Shows the problem that is looked at; `again` where it is shown already, and may have changed. */
async function show(again = false) {
  const item = items.find((one) => one.problem === state.problem);
  if (!item) {
    place.replaceChildren(el("p", { class: "quiet", text: live && !items.length ? "Nothing is sampled yet: searches are shown here as they begin." : "Pick a problem." }));
    return;
  }
  if (!item.rows[state.run]) state.run = item.rows.findIndex(Boolean);
  const row = item.rows[state.run], run = runs[state.run], turn = ++wanted;
  let tree;
  try {
    tree = await readTree(run.run, row);
  } catch (error) { // the server is gone
    if (!again) place.replaceChildren(el("p", { class: "warning", text: `This search cannot be read: ${error.message}` }));
    return;
  }
  if (turn !== wanted || (again && (tree === current || !mayChange()))) return; // another one was picked meanwhile
  const restore = again ? remembered() : () => {};
  current = tree;
  const tabs = el("div", { class: "tabs", role: "tablist" }, Object.entries(TABS).map(([key, label]) =>
    el("button", { type: "button", role: "tab", "aria-selected": key === state.tab ? "true" : "false", "data-tab": key, onclick: () => openTab(key), text: label })));
  if (!again) playing = null;
  drawn = null;
  const panes = {
    search: () => searchPane(tree, run, again),
    why: () => ({ element: whyPane(tree, state.rule, pickRule, showNode) }),
    time: () => ({ element: timePane(tree, run, row, showNode) }),
    money: () => ({ element: moneyPane(tree, run) }),
  };
  const pane = panes[state.tab]();
  place.replaceChildren(question(item, row, tree, run), tabs, el("section", { role: "tabpanel", class: `pane ${state.tab}` }, pane.element));
  pane.ready?.();
  restore();
  place.dataset.ready = `${state.run} ${item.problem} ${state.tab}`;
  writeAddress();
}

// -- a run that goes on ------------------------------------------------------------------------------------

const SCROLLED = ".tree, .reader, .prompt, .chain, .answers > div";
const FOCUSED = [".tree svg", ".player input", ".play", "[data-tab=search]", "[data-tab=why]", "[data-tab=time]", "[data-tab=money]"];

/** Returns what puts back where one has scrolled to, and what has the focus. */
function remembered() {
  const places = [...place.querySelectorAll(SCROLLED)].map((one) => [one.scrollTop, one.scrollLeft]);
  const focused = FOCUSED.find((one) => document.activeElement?.matches(`#problem ${one}`));
  return () => {
    [...place.querySelectorAll(SCROLLED)].forEach((one, at) => { if (places[at]) [one.scrollTop, one.scrollLeft] = places[at]; });
    if (focused) place.querySelector(focused)?.focus({ preventScroll: true });
  };
}

function pickRun(name) {
  followRun(name);
}

/** Where it is wished, shows the next search that is at work once the one that is shown has ended. */
function goWhereWorkIs() {
  if (!now.follows) return false;
  const shown = items.find((item) => item.problem === state.problem)?.rows[0];
  if (shown && !shown.ended) return false;
  const next = items.find((item) => !item.rows[0].ended) ?? (shown ? null : items[0]);
  if (next) openProblem(next.problem);
  return Boolean(next);
}

/** Takes what is new of the run into what the page knows of it. */
function take({ run, runs: names, fault, start, whole, news }) {
  Object.assign(now, { fault, start, changedNames: now.changedNames || names.join() !== now.names.join(), names });
  if (!news) return;
  const rows = whole ? [] : runs[0].rows, head = named("Explored", news.head);
  for (const [at, row] of news.rows) rows[at] = named("Row", row);
  if (whole && runs[0] && runs[0].run !== run) state.node = null;
  runs[0] = { ...head, run, rows };
  now.problems = news.problems;
  if (head.rules.length && !head.rules.includes(state.rule)) [state.rule] = head.rules;
  items.splice(0, items.length, ...joined(runs));
}

/** Draws what the page says of its runs anew, or the whole head; what was unfolded stays so. */
function redrawRuns(whole = false) {
  const opened = [...document.querySelectorAll("#overview details")].map((one) => one.open);
  if (whole) drawHead();
  else document.getElementById("overview").replaceChildren(...runs.map(headOf));
  document.querySelectorAll("#overview details").forEach((one, at) => { one.open = opened[at] ?? false; });
}

let waits = false;

/** Draws what has changed, once that is not under somebody's hand. */
function redraw() {
  if (!mayChange()) {
    if (!waits) setTimeout(() => { waits = false; redraw(); }, 200);
    waits = true;
    return;
  }
  const rules = [...new Set(runs.flatMap((one) => one.rules))].join();
  redrawRuns(rules !== rulesShown || now.changedNames);
  now.changedNames = false;
  list.refresh();
  if (goWhereWorkIs()) return;
  if (!items.some((item) => item.problem === state.problem)) openProblem(items[0]?.problem ?? null);
  else if (!playing?.plays()) show(true);
}

function over(how) {
  now.over = how;
  if (!runs.length) place.replaceChildren(el("p", { class: "warning", text: "The run has ended before anything was sampled." }));
  else if (how === "finished") openFinished(followed() || now.names.at(-1));
  else drawHead();
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
// By the event: what is shown meanwhile may have written its own address over the new one.
addEventListener("hashchange", ({ newURL }) => { readAddress(new URL(newURL).hash); list.mark(state.problem); show(); });
addEventListener("popstate", ({ state: noted }) => {
  if (!noted) return; // an address that was typed
  document.body.classList.toggle("reading", noted.reading);
  leadsBack = false;
  nowFollows(noted.follows);
});
let resized = null;
addEventListener("resize", () => { clearTimeout(resized); resized = setTimeout(() => { rooms = {}; redrawRuns(); if (["search", "time"].includes(state.tab) && current) show(); }, 150); });

theme(kept());
if (live) await new Promise((begun) => { follow({ news: (data) => { take(data); if (list) redraw(); else if (runs.length) begun(); else if (now.start.length) place.replaceChildren(...startOf().filter(Boolean)); }, over }); });
readAddress();
const asked = state.problem !== null;
now.follows = live && (history.state?.follows ?? !(asked || narrow.matches));
now.changedNames = false;
drawHead();
list = drawList(document.getElementById("list"), runs, items, state, pickProblem, () => show(), () => now.problems);
if (asked && (history.state?.reading ?? true)) document.body.classList.add("reading");
if (!asked) state.problem = (items.find((item) => !item.rows[0]?.ended && live) ?? items[0])?.problem ?? null;
list.mark(state.problem);
await show();
document.documentElement.dataset.opened = Math.round(performance.now());
