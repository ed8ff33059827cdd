// Shows what was under way over a run's time: what waited for a place at a replica, and what had one.
import { el, svg, count, percent, room, seconds } from "./dom.js";
import { live } from "./live.js";

const HIGH = 90, EDGE = 18; // of the chart, and the room for words above and below it
const POOL_COLOURS = { generator: "a", reviser: "c", verifier: "b" };

/** Returns what an operation may be at, in the order in which they are drawn one above the other. */
function states(work) {
  return work.pools.flatMap((pool) => [
    { pool, waits: false, values: pool.computing, seconds: pool.computed, words: `${pool.pool}: at a replica` },
    { pool, waits: true, values: pool.waiting, seconds: pool.waited, words: `${pool.pool}: waiting for a place` },
  ]);
}

/** Draws how many operations were under way, one kind above the other. */
function areas(work) {
  const width = room(900), parts = states(work).filter((one) => one.values.some((value) => value > 0));
  const sums = new Array(work.pools[0].computing.length).fill(0);
  const totals = sums.map((_, at) => parts.reduce((sum, one) => sum + one.values[at], 0));
  const most = Math.max(...totals, 1e-9);
  const x = (at) => (width * at) / sums.length, y = (value) => EDGE + (HIGH * (1 - value / most));
  const drawn = parts.map((one) => {
    const below = sums.map((sum, at) => `V${y(sum).toFixed(1)}H${x(at).toFixed(1)}`).reverse();
    one.values.forEach((value, at) => { sums[at] += value; });
    const above = sums.map((sum, at) => `V${y(sum).toFixed(1)}H${x(at + 1).toFixed(1)}`);
    return svg("path", { class: `op ${POOL_COLOURS[one.pool.pool]}${one.waits ? " waited" : ""}`, d: `M0 ${y(0)}${above.join("")}${below.join("")}Z` },
      svg("title", { text: one.words }));
  });
  const peak = Math.round(most).toLocaleString("en");
  return svg("svg", { class: "work", viewBox: `0 0 ${width} ${HIGH + 2 * EDGE}`, style: `max-width: ${width}px`, role: "img",
    "aria-label": `Operations under way over ${seconds(work.seconds)}: ${peak} at most. ${said(work)}` },
  svg("path", { class: "grid", d: `M0 ${EDGE}H${width}M0 ${y(0)}H${width}` }), drawn,
  svg("text", { x: 0, y: EDGE - 5, text: `${peak} under way at once, at most` }),
  svg("text", { x: 0, y: HIGH + EDGE + 14, text: "0 s" }),
  svg("text", { x: width, y: HIGH + EDGE + 14, "text-anchor": "end", text: `${seconds(work.seconds)} of search` }));
}

/** Says what operations spent their time with, the most first. */
function said(work) {
  const parts = states(work), all = parts.reduce((sum, one) => sum + one.seconds, 0) || 1;
  return parts.sort((one, other) => other.seconds - one.seconds)
    .map((one) => `${percent(one.seconds / all)} ${one.waits ? "waiting for" : "at"} a ${one.pool.pool}`).join(", ");
}

/** Returns the part of a run's overview that tells what it waited for; null where no times were kept. */
export function workPart(run) {
  const { work } = run;
  if (!work) return null;
  const parts = states(work), all = parts.reduce((sum, one) => sum + one.seconds, 0) || 1;
  const untold = work.pools.reduce((sum, pool) => sum + pool.untold, 0);
  const cell = (text) => el("td", { class: "number", text });
  return el("details", { class: "over-time" }, el("summary", { text: `what it waited for: ${said(work)}` }),
    areas(work),
    el("div", { class: "wide" }, el("table", {},
      el("thead", {}, el("tr", {}, ["operations", "their time", "share"].map((word) => el("th", { scope: "col", text: word })))),
      el("tbody", {}, parts.map((one) => el("tr", {},
        el("th", { scope: "row" }, el("span", { class: `sign square ${POOL_COLOURS[one.pool.pool]}${one.waits ? " waited" : ""}` }), ` ${one.words}`),
        cell(seconds(one.seconds)), cell(percent(one.seconds / all))))))),
    live && el("p", { class: "note quiet", text: "Of the searches that have ended: those that go on are not in it yet, so the right of the chart still grows." }),
    el("p", { class: "note quiet" }, "The time of all operations together, from when they were sent to their answers. ",
      "At a replica an operation is on its way, in its engine's batch or queue, or on its way back.",
      untold > 0 && ` Of ${count(untold, "operation")} it is not known how long they waited: they count as being at a replica.`,
      work.left_out > 0 && ` The run had stopped for ${seconds(work.left_out)}, which are left out.`));
}
