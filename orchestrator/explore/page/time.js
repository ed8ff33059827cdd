// Shows which replica did what, when that was kept, and in the order in which results were recorded.
import { el, svg, count, flops, room, seconds, si } from "./dom.js";

const COLOURS = { sample: "a", revise: "a", score: "b", choose: "c" };

/** Says which replicas were lost with an operation, before it was done again; nothing of any other. */
export const again = (event) => (event.lost?.length ? `done again: ${event.lost.join(", then ")} was lost with it` : "");

/** Returns the mark of an operation that was done again, above it. */
const markAgain = (event, x, y) => again(event) && svg("path", { class: "again", d: `M${x - 4} ${y - 4}h8l-4 6z` }, svg("title", { text: again(event) }));

/** Draws a lane for each replica, a stroke for each operation at its place in the order. */
function lanes(tree, onpick) {
  const replicas = [...new Set(tree.events.map((event) => event.replica))].sort();
  const width = room(1200), row = 30, left = 110;
  const x = (at) => left + ((width - left) * at) / Math.max(1, tree.events.length);
  const stroke = Math.max(1, Math.min(6, (width - left) / Math.max(1, tree.events.length) - 0.5));
  return svg("svg", { class: "lanes", viewBox: `0 0 ${width} ${replicas.length * row + 26}`, role: "img",
    "aria-label": replicas.map((name) => `${name}: ${tree.events.filter((event) => event.replica === name).length} operations`).join("; ") },
  replicas.map((name, lane) => [
    svg("text", { x: left - 8, y: lane * row + 20, "text-anchor": "end", text: name }),
    svg("path", { class: "grid", d: `M${left} ${lane * row + 15}H${width}` }),
  ]),
  tree.events.map((event, at) => [svg("rect", { class: `op ${COLOURS[event.kind]}`, x: x(at), y: replicas.indexOf(event.replica) * row + 4, width: stroke, height: 22,
    onclick: () => event.node >= 0 && onpick(tree.nodes[event.node]) },
  svg("title", { text: [`${at + 1}: ${event.kind} ${tree.nodes[event.node]?.path ?? ""} · ${flops(event.flops)} · the engine ran ${count(event.computed, "token")}`, again(event)].filter(Boolean).join(" · ") })),
  markAgain(event, x(at) + stroke / 2, replicas.indexOf(event.replica) * row + 4)]),
  svg("text", { x: left, y: replicas.length * row + 20, text: "first result" }),
  svg("text", { x: width, y: replicas.length * row + 20, "text-anchor": "end", text: "last result" }));
}

/** Returns whether it is known how long an operation waited for a place at a replica. */
const known = (event) => event.waited !== null && event.waited !== undefined;

const MOST_ROWS = 24; // operations of one replica that are drawn above each other

/** Places operations that overlap one above the other: the first row that is free. Returns the rows by operation. */
function stacked(events) {
  const ends = [], rows = new Map();
  for (const event of [...events].sort((a, b) => a.sent - b.sent)) {
    let row = ends.findIndex((end) => end <= event.sent);
    if (row < 0) row = ends.length < MOST_ROWS ? ends.length : ends.indexOf(Math.min(...ends));
    ends[row] = event.sent + event.lasted;
    rows.set(event, row);
  }
  return { rows, count: ends.length };
}

/** Draws a lane for each replica, a bar for each operation from when it was sent to when it was answered. */
function clock(tree, timed, onpick) {
  const replicas = [...new Set(timed.map((event) => event.replica))].sort();
  const width = room(1200), left = 110, line = 5, last = Math.max(1, ...timed.map((event) => event.sent + event.lasted));
  const x = (ms) => left + ((width - left) * ms) / last;
  let top = 0;
  const parts = replicas.map((name) => {
    const events = timed.filter((event) => event.replica === name), { rows, count: high } = stacked(events), from = top;
    top += Math.max(26, high * line + 12);
    return [svg("text", { x: left - 8, y: from + 16, "text-anchor": "end", text: name }), svg("path", { class: "grid", d: `M${left} ${top - 4}H${width}` }),
      events.map((event) => {
        const title = () => svg("title", { text: `${event.kind} ${tree.nodes[event.node]?.path ?? ""} · sent after ${seconds(event.sent / 1000)}, answered ${seconds(event.lasted / 1000)} later${known(event) ? `, of which it waited ${seconds(event.waited / 1000)}` : ""}${again(event) && ` · ${again(event)}`}` });
        const bar = (kind, begin, end, least) => end - begin >= least && svg("rect", { class: `op ${COLOURS[event.kind]} ${kind}`, x: x(begin), y: from + 3 + rows.get(event) * line, width: Math.max(1, x(end) - x(begin)), height: line - 1,
          onclick: () => event.node >= 0 && onpick(tree.nodes[event.node]) }, title());
        const taken = event.sent + (known(event) ? event.waited : 0);
        return [bar("waited", event.sent, taken, 1), bar("", taken, event.sent + event.lasted, 0), markAgain(event, x(taken), from + 3 + rows.get(event) * line)];
      })];
  });
  return svg("svg", { class: "lanes clock", viewBox: `0 0 ${width} ${top + 22}`, role: "img", "aria-label": `${count(timed.length, "operation")} within ${seconds(last / 1000)}` },
    parts, svg("text", { x: left, y: top + 16, text: "0 s" }), svg("text", { x: width, y: top + 16, "text-anchor": "end", text: seconds(last / 1000) }));
}

function clockPart(tree, onpick) {
  const timed = tree.events.filter((event) => event.sent !== null && event.sent !== undefined);
  if (!timed.length) return null;
  const lost = tree.events.length - timed.length, told = timed.filter(known);
  const sum = (field) => told.reduce((all, event) => all + event[field], 0);
  const waited = told.length > 0 && `Of ${seconds(sum("lasted") / 1000)} of all operations together ${seconds(sum("waited") / 1000)} were waiting for a place at a replica (pale), the rest was the replica's: on its way, in its engine's batch, and back.`;
  return [el("h3", { text: "This search: when" }),
    el("p", { class: "quiet", text: `Each bar is an operation from when it was sent to when it was answered: it waited for a place at a replica, and was computed. ${waited || "How much of it was waiting was not kept."} Bars above each other were under way at once.${lost ? ` Of ${count(lost, "operation")} no time was kept.` : ""}` }),
    clock(tree, timed, onpick)];
}

function table(run) {
  return el("div", { class: "wide" }, el("table", {}, el("caption", { text: "Operations by replica, over the whole run" }),
    el("thead", {}, el("tr", {}, ["replica", "samples", "scores", "tokens sampled", "tokens run by the engine", "FLOPs charged"].map((word) => el("th", { scope: "col", text: word })))),
    el("tbody", {}, run.replicas.map((one) => el("tr", {}, el("th", { scope: "row", text: one.name }),
      [one.samples, one.scores, one.tokens, one.computed].map((value) => el("td", { class: "number", text: value.toLocaleString("en") })),
      el("td", { class: "number", text: si(one.flops) }))))));
}

/** Says which operations of a search were done again; null where none is known to be. */
function redone(tree) {
  const found = tree.events.filter(again);
  return found.length > 0 && el("p", { class: "redone" }, el("span", { class: "sign again" }), ` ${count(found.length, "operation")} of this search ${found.length === 1 ? "was" : "were"} done again, with the same seed, after a replica was lost: `,
    [...new Set(found.flatMap((event) => event.lost))].sort().map((name) => `${name} (${found.filter((event) => event.lost.includes(name)).length.toLocaleString("en")})`).join(", "), ".");
}

/** Returns the pane about order and replicas. */
export function timePane(tree, run, row, onpick) {
  return el("div", {},
    row.seconds !== null && el("p", {}, `This search took ${seconds(row.seconds)} beside the others${run.seconds === null ? "" : `; the run's searches took ${seconds(run.seconds)}`}.`),
    clockPart(tree, onpick),
    tree.events.length > 0 && [
      el("h3", { text: "This search: who did what, in order" }),
      el("p", { class: "quiet" }, "Each stroke is an operation: ", el("span", { class: "sign a" }), " sample, ", el("span", { class: "sign b" }), " score",
        tree.events.some((event) => event.kind === "choose") && [", ", el("span", { class: "sign c" }), " choice"], ". Click one to see its node."),
      lanes(tree, onpick)],
    redone(tree),
    table(run),
    el("h3", { text: "Replicas that were lost" }),
    run.log.length ? el("ul", { class: "log" }, run.log.map((line) => el("li", { text: line })))
      : el("p", { text: "The run's log tells of none." }),
    el("p", { class: "note quiet" }, "Which operations were done again after a replica was lost is kept with their times: of an operation without a time it is not known. The order is that in which results were recorded, to within a commit of 0.05 s. Times are kept as a search ends."));
}
