// Plays a search in the order in which its results were recorded, with its budget burning down.
import { el, svg, count, flops, percent } from "./dom.js";

const SECONDS = 10; // of a whole search at normal speed
const WIDTH = 600, HEIGHT = 54;

/** Returns the line of what is spent after each operation, against the share of the budget. */
function burnDown(tree, share) {
  const most = Math.max(tree.spent, share ?? 0) || 1;
  const x = (at) => (WIDTH * at) / Math.max(1, tree.events.length);
  const y = (spent) => HEIGHT - 2 - ((HEIGHT - 6) * spent) / most;
  const points = [`M0 ${y(tree.opening)}`, ...tree.events.map((event, at) => `H${x(at + 1).toFixed(1)}V${y(event.spent).toFixed(1)}`)];
  const limit = share ? svg("path", { class: "limit", d: `M0 ${y(share)}H${WIDTH}` }) : null;
  return { x, drawing: svg("svg", { class: "burn", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("path", { class: "spent", d: `${points.join("")}V${HEIGHT}H0Z` }), limit) };
}

/**
 * Returns the player of a search: its element, and `toggle()`, which begins or stops it.
 * `show(at)` is called with the number of operations that have happened. It begins at `start`, or at the end.
 */
export function player(tree, share, show, start = null) {
  const total = tree.events.length;
  let at = Math.min(total, start ?? total), timer = null;
  const { drawing, x } = burnDown(tree, share);
  const hand = svg("path", { class: "hand", d: `M0 0V${HEIGHT}` });
  drawing.append(hand);
  const button = el("button", { type: "button", class: "play", onclick: toggle });
  const slider = el("input", { type: "range", min: 0, max: total, value: total, "aria-label": "operations so far",
    oninput: () => { stop(); move(Number(slider.value)); } });
  const words = el("output", { class: "now" });

  function said() {
    const event = tree.events[at - 1];
    const spent = event ? event.spent : tree.opening;
    const left = share ? ` · ${spent <= share ? `${percent(1 - spent / share)} of its share left` : `${percent(spent / share)} of an equal share`}` : "";
    const what = event && event.node >= 0 && at < total ? ` · ${event.kind} ${tree.nodes[event.node].path} on ${event.replica}` : "";
    return `${at.toLocaleString("en")} of ${count(total, "operation")}${what} · ${flops(spent)} spent${left}`;
  }

  function move(to) {
    at = to;
    slider.value = at;
    words.textContent = said();
    hand.setAttribute("d", `M${x(at)} 0V${HEIGHT}`);
    show(at);
  }

  function stop() {
    cancelAnimationFrame(timer);
    timer = null;
    button.textContent = "▶ play";
    button.setAttribute("aria-pressed", "false");
  }

  function toggle() {
    if (timer !== null) return stop();
    if (at >= total) move(0);
    button.textContent = "❚❚ pause";
    button.setAttribute("aria-pressed", "true");
    const began = performance.now(), first = at;
    function turn(now) {
      if (!button.isConnected) return;
      const next = Math.min(total, first + Math.floor(((now - began) / 1000) * (total / SECONDS)));
      if (next !== at) move(next);
      if (next >= total) stop();
      else timer = requestAnimationFrame(turn);
    }
    timer = requestAnimationFrame(turn);
  }

  stop();
  slider.value = at;
  words.textContent = said();
  hand.setAttribute("d", `M${x(at)} 0V${HEIGHT}`);
  const key = el("ul", { class: "legend" }, el("li", {}, el("span", { class: "sign square strip" }), "FLOPs spent after each operation"),
    share && el("li", {}, el("span", { class: "sign dashes" }), `an equal share of the budget, ${flops(share)}`), el("li", {}, el("span", { class: "sign upright" }), "where it stands"));
  const element = el("div", { class: "player" }, el("div", { class: "row" }, button, slider), drawing, key,
    el("div", { class: "row quiet" }, words));
  /** Returns where it stands: null at the end, which moves as the search goes on. */
  const stands = () => (at < total ? at : null);
  return { element, toggle, stands, plays: () => timer !== null };
}
