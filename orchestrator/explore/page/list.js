// The list of problems: filtered, sorted, and compared between runs.
import { live } from "./live.js";
import { count, el, flops, head, mark, seconds, select } from "./dom.js";

const ROWS = 1000; // rows that are on the page at once

/** Returns the problems of all runs: by problem, each run's row and its number; null where it has none. */
export function joined(runs) {
  const all = new Map();
  runs.forEach((run, number) => run.rows.forEach((row, index) => {
    if (!all.has(row.problem)) all.set(row.problem, { problem: row.problem, order: all.size, rows: runs.map(() => null), text: "" });
    const item = all.get(row.problem);
    item.rows[number] = { ...row, index, run: number };
    item.text = `${item.text} ${row.problem} ${row.prompt} ${row.expected} ${row.attributes} ${row.error ?? ""}`.toLowerCase();
  }));
  return [...all.values()];
}

/** Returns whether a row is right by a rule. */
export function right(run, row, rule) {
  const at = run.rules.indexOf(rule);
  return Boolean(row && row.correct[at < 0 ? 0 : at]);
}

/** Returns what a row was searched by: what a policy has chosen for it, or else its run's strategy, with its parameters where runs differ in these alone. */
export function strategyOf(runs, row) {
  if (row.strategy) return row.strategy;
  const run = runs[row.run];
  const alike = runs.filter((one) => one.strategy === run.strategy).length > 1;
  return (alike && run.about.find(([name]) => name === "strategy")?.[1]) || run.strategy;
}

function strategies(runs, items) {
  return [...new Set(items.flatMap((item) => item.rows.filter(Boolean).map((row) => strategyOf(runs, row))))].sort();
}

function filters(runs) {
  const one = [
    ["all", "all"], ["right", "right"], ["wrong", "wrong"],
    ["missed", "wrong, though a solution was right"], ["disagree", "rules disagree"],
    ["none", "no answer"], ["exhausted", "cut short by the budget"], ["failed", "search failed"], ["open", live ? "searching" : "not ended"],
  ];
  if (runs.length === 1) return one;
  const names = runs.map((_, at) => letter(at));
  const pairs = names.flatMap((a, i) => names.flatMap((b, j) => (i === j ? [] : [[`pair ${i} ${j}`, `solved by ${a}, not by ${b}`]])));
  return [one[0], ["differ", "solved by some, not by all"], ...pairs, ["every", "solved by every run"], ["no-one", "solved by no run"], ...one.slice(1)];
}

export const letter = (at) => String.fromCharCode(65 + (at % 26));

function keeps(item, runs, state) {
  const { filter, rule, run, strategy } = state;
  if (strategy && !item.rows.some((one) => one && strategyOf(runs, one) === strategy)) return false;
  const solved = item.rows.map((row, at) => right(runs[at], row, rule));
  const row = item.rows[run];
  if (filter === "all") return true;
  if (filter === "differ") return new Set(solved).size > 1;
  if (filter === "every") return solved.every(Boolean);
  if (filter === "no-one") return !solved.some(Boolean);
  if (filter.startsWith("pair")) {
    const [, a, b] = filter.split(" ").map(Number);
    return solved[a] && !solved[b];
  }
  if (!row) return false;
  return {
    right: solved[run], wrong: row.ended && !solved[run], missed: !solved[run] && row.covered, disagree: !row.agree,
    none: row.ended && !row.answered, exhausted: row.exhausted, failed: row.error !== null, open: !row.ended,
  }[filter];
}

const SORTS = {
  ...(live ? { newest: ["newest first", (row, item) => -item.order] } : {}),
  order: [live ? "oldest first" : "as in the set", (row, item) => item.order],
  flops: ["FLOPs, most first", (row) => -row.flops],
  seconds: ["seconds, most first", (row) => -(row.seconds ?? -1)],
  hard: ["difficulty, hardest first", (row) => -(row.difficulty ?? -Infinity)],
  easy: ["difficulty, easiest first", (row) => row.difficulty ?? Infinity],
  nodes: ["samples, most first", (row) => -row.nodes],
};

function flags(row) {
  const words = [];
  if (row.error !== null) words.push("failed");
  if (row.exhausted) words.push("budget ended");
  if (!row.ended) words.push(live ? "searching" : "not ended");
  if (row.ended && !row.error && !row.answered) words.push("no answer");
  return words.map((word) => el("span", { class: "tag bad", text: word }));
}

/** Returns what is in a row: what it is marked with, its name, and its numbers. */
function partsOf(item, runs, state) {
  const row = item.rows[state.run] ?? item.rows.find(Boolean);
  const marks = item.rows.map((one, at) => el("span", { class: "result" }, runs.length > 1 && letter(at),
    one && one.ended ? mark(right(runs[at], one, state.rule), `${runs[at].run}: `) : el("span", { class: "quiet", text: "–" })));
  const missed = row.ended && !right(runs[row.run], row, state.rule) && row.covered;
  return [el("span", { class: "marks" }, marks),
    el("span", { class: "name" }, el("b", { text: item.problem }), " ", el("span", { class: "quiet", dir: "auto", text: head(row.prompt, 70) })),
    el("span", { class: "numbers" }, flags(row), missed && el("span", { class: "tag", text: "a solution was right" }),
      row.strategy && el("span", { class: "tag", text: row.strategy }),
      row.difficulty !== null && `difficulty ${row.difficulty} · `, `${flops(row.flops)}${row.seconds === null ? "" : ` · ${seconds(row.seconds)}`}`)];
}

function rowOf(item, onpick) {
  return el("li", {}, el("a", {
    href: `#${item.problem}`, "data-problem": item.problem,
    onclick: (event) => { event.preventDefault(); onpick(item.problem); },
  }));
}

/** Draws the list into `place`; `onpick` is called with a problem, `onrun` as another run is shown; `all()` is how many problems a run has that goes on. Returns what marks the picked problem, and steps to the next one. */
export function drawList(place, runs, items, state, onpick, onrun, all) {
  const rows = el("ol", { class: "rows" });
  const said = el("p", { class: "quiet", role: "status" });
  const byStrategy = el("div", { class: "field" });
  let offered = ""; // the strategies that one can pick
  const kept = new Map(); // the row of each problem, and what it shows
  let shown = [];

  /** Offers the strategies of the problems, where there are several. */
  function offer() {
    const found = strategies(runs, items);
    if (found.join("\n") === offered) return;
    offered = found.join("\n");
    byStrategy.hidden = found.length < 2;
    byStrategy.replaceChildren(select("", [["", "strategy: any"], ...found.map((name) => [name, `strategy: ${name}`])], state.strategy, pickStrategy));
  }

  /** Lists the problems that a strategy has searched, and shows them as the run of that strategy has them. */
  function pickStrategy(strategy) {
    state.strategy = strategy;
    const run = runs.findIndex((one) => one.rows.some((row) => row && strategyOf(runs, { ...row, run: runs.indexOf(one) }) === strategy));
    const other = run >= 0 && run !== state.run;
    if (other) state.run = run;
    fill();
    if (other) onrun();
  }

  function fill() {
    offer();
    const words = state.words.toLowerCase().split(/\s+/).filter(Boolean);
    const by = SORTS[state.sort][1];
    const rank = (item) => (item.rows[state.run] ? by(item.rows[state.run], item) : Infinity);
    shown = items.filter((item) => words.every((word) => item.text.includes(word)) && keeps(item, runs, state))
      .sort((a, b) => rank(a) - rank(b) || a.order - b.order);
    const solved = shown.filter((item) => right(runs[state.run], item.rows[state.run], state.rule)).length;
    const listed = shown.length.toLocaleString("en"), begun = items.length.toLocaleString("en");
    const of = live ? (shown.length < items.length ? `${listed} of the ${begun} that have begun` : `${begun} of ${count(Math.max(items.length, all()), "problem")} have begun`)
      : `${listed} of ${count(items.length, "problem")}`;
    said.textContent = of + (live ? "" : `, ${solved.toLocaleString("en")} right by ${state.rule}${runs.length > 1 ? ` in ${letter(state.run)}` : ""}`)
      + (shown.length > ROWS ? `; the first ${ROWS.toLocaleString("en")} are listed` : "");
    const wanted = shown.slice(0, ROWS).map(made);
    wanted.forEach((row, at) => { if (rows.children[at] !== row) rows.insertBefore(row, rows.children[at] ?? null); });
    while (rows.children.length > wanted.length) rows.lastChild.remove();
  }

  /** Returns the row of a problem. It stays the same element, so that it may be clicked while it changes. */
  function made(item) {
    const shows = JSON.stringify([item.rows, state.rule, state.run]);
    if (!kept.has(item.problem)) kept.set(item.problem, { row: rowOf(item, onpick), shows: null });
    const one = kept.get(item.problem);
    if (one.shows !== shows) one.row.firstChild.replaceChildren(...partsOf(item, runs, state).filter(Boolean));
    one.shows = shows;
    one.row.firstChild.toggleAttribute("aria-current", false);
    if (item.problem === state.problem) one.row.firstChild.setAttribute("aria-current", "true");
    return one.row;
  }

  /** Moves the list, and not the page, until a row of it is seen. */
  function reveal(link) {
    const row = link.getBoundingClientRect(), list = rows.getBoundingClientRect();
    if (row.top < list.top) rows.scrollTop -= list.top - row.top;
    else if (row.bottom > list.bottom) rows.scrollTop += row.bottom - list.bottom;
  }

  const set = (name) => (value) => { state[name] = value; fill(); };
  place.replaceChildren(
    el("div", { class: "controls" },
      el("input", { type: "search", id: "filter", placeholder: "filter by words  ( / )", value: state.words, "aria-label": "filter problems by words",
        oninput: (event) => set("words")(event.target.value) }),
      select("", filters(runs).map(([key, label]) => [key, `show: ${label}`]), state.filter, set("filter")),
      select("", Object.entries(SORTS).map(([key, [label]]) => [key, `sort: ${label}`]), state.sort, set("sort")), byStrategy),
    said, rows);
  fill();
  return {
    refresh: fill,
    mark(problem) {
      rows.querySelector("[aria-current]")?.removeAttribute("aria-current");
      const link = rows.children[shown.findIndex((item) => item.problem === problem)]?.firstChild;
      link?.setAttribute("aria-current", "true");
      requestAnimationFrame(() => { if (link) reveal(link); }); // laid out once, with the rest
    },
    step(by) {
      const at = shown.findIndex((item) => item.problem === state.problem);
      const next = shown[at < 0 ? 0 : at + by];
      if (next) onpick(next.problem, true);
    },
  };
}
