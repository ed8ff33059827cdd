// Draws a search as a tree that is walked with the mouse or the arrow keys.
import { el, svg, head, score, select, count } from "./dom.js";
import { chosenPath, fate, text, value } from "./data.js";
import { colour } from "./text.js";
import { curve, placed, visible } from "./layout.js";

const tip = document.getElementById("tip");

/** Says in a line what a node is: for a tooltip, and for those who do not see it. */
function described(tree, node) {
  return `${node.path}: ${score(value(node))}; ${fate(tree, node)}`;
}

function showTip(event, tree, node) {
  const words = head(text(node), 300) || "no text";
  tip.replaceChildren(el("b", { text: described(tree, node) }), el("div", { dir: "auto", text: words }));
  tip.hidden = false;
  const box = event.target.closest(".node").getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(box.left, innerWidth - tip.offsetWidth - 8))}px`;
  const below = box.bottom + 8;
  tip.style.top = `${below + tip.offsetHeight < innerHeight ? below : Math.max(4, box.top - tip.offsetHeight - 8)}px`;
}

const hideTip = () => { tip.hidden = true; };
addEventListener("scroll", hideTip, true);

/** Returns what is written beside a node: its score, copies, and whether its answer is right. */
function label(node, wide, leaf) {
  const words = [];
  if (wide || leaf) words.push(value(node) === null ? "" : value(node).toFixed(2));
  if (node.copies.length && node.fate !== "copy") words.push(`×${node.copies.length + 1}`);
  if (node.ending) words.push(node.ending.correct ? "✓" : "✗");
  return words.join(" ").trim();
}

function shape(node) {
  const fill = colour(value(node));
  if (node.fate === "copy") return [svg("rect", { x: -4, y: -4, width: 8, height: 8, transform: "rotate(45)", fill: "none" })];
  const circle = svg("circle", { class: "body", r: node.fate === "dropped" ? 5 : 7, fill });
  return node.fate === "returned" ? [svg("circle", { r: 10, class: "ring" }), circle] : [circle];
}

/**
 * Draws a search into `place`, which has so much `room` across. `on.pick(node)` is called as a node is picked. Returns what changes the drawing:
 * `pick(node)` and `at(number)`, which shows what there was after so many operations.
 */
export function drawTree(place, tree, state, room, on) {
  const chosen = chosenPath(tree, state.rule);
  const nodes = visible(tree, state.which);
  const shown = new Set(nodes);
  const layout = placed(nodes, room);
  const wide = layout.across >= 92;
  const groups = new Map(), links = new Map(), families = new Map();
  for (const { above } of nodes) families.set(above, (families.get(above) ?? 0) + 1);
  const drawing = svg("svg", { width: layout.width, height: layout.height, role: "tree", tabindex: 0,
    "aria-label": `The search of ${tree.problem}: ${count(nodes.length, "node")}. Arrow keys walk through it.` });
  for (const node of nodes) {
    const from = layout.places.get(tree.nodes[node.above]) ?? layout.root;
    const link = svg("path", { d: curve(from, layout.places.get(node), families.get(node.above)), class: `link ${node.fate}${chosen.has(node) ? " chosen" : ""}` });
    links.set(node, link);
  }
  drawing.append(...[...links].sort(([a], [b]) => chosen.has(a) - chosen.has(b)).map(([, link]) => link));
  drawing.append(svg("g", { transform: `translate(${layout.root.x} ${layout.root.y})`, class: "root" },
    svg("rect", { x: -9, y: -9, width: 18, height: 18, rx: 3 }), svg("text", { "text-anchor": "middle", y: 4, text: "?" })));
  for (const node of nodes) {
    const { x, y } = layout.places.get(node);
    const leaf = !node.children.some((child) => shown.has(child));
    const words = label(node, wide, leaf);
    const right = node.ending ? (node.ending.correct ? " right" : " wrong") : "";
    groups.set(node, svg("g", {
      class: `node ${node.fate}${value(node) === null ? " unscored" : ""}${chosen.has(node) ? " chosen" : ""}`,
      transform: `translate(${x} ${y})`, role: "treeitem", "data-path": node.path, "data-index": node.index,
      "aria-label": described(tree, node), "aria-level": node.depth,
    }, svg("circle", { r: 12, class: "touch" }), shape(node),
    words && svg("text", { x: leaf ? 13 : 9, y: leaf ? 4 : -8, class: `label${right}`, text: words })));
  }
  drawing.append(...groups.values());
  place.replaceChildren(drawing);
  const under = (event) => tree.nodes[event.target.closest?.(".node")?.dataset.index];
  drawing.addEventListener("click", (event) => { if (under(event)) on.pick(under(event)); });
  drawing.addEventListener("mouseover", (event) => (under(event) ? showTip(event, tree, under(event)) : hideTip()));
  drawing.addEventListener("mouseleave", hideTip);

  let picked = null;
  /** Marks a node; with `into` the drawing is moved until it is seen. */
  function pick(node, into = true) {
    if (node && !shown.has(node)) node = node.fate === "copy" ? tree.nodes[node.first] : null;
    groups.get(picked)?.classList.remove("picked");
    picked = node;
    if (!node || !groups.has(node)) return;
    groups.get(node).classList.add("picked");
    if (into) requestAnimationFrame(() => reveal(layout.places.get(node))); // laid out once, with the rest of the page
  }

  function reveal({ x, y }) {
    if (y < place.scrollTop + 20 || y > place.scrollTop + place.clientHeight - 20) place.scrollTop = y - place.clientHeight / 2;
    if (x < place.scrollLeft + 20 || x > place.scrollLeft + place.clientWidth - 60) place.scrollLeft = x - place.clientWidth / 2;
  }

  /** Walks: to the parent, the first child, or the one above or below of the same depth. */
  function walk(key) {
    if (!picked) return nodes[0];
    if (key === "ArrowLeft") return shown.has(tree.nodes[picked.above]) ? tree.nodes[picked.above] : null;
    if (key === "ArrowRight") return picked.children.find((child) => shown.has(child));
    const level = nodes.filter((node) => node.depth === picked.depth);
    return level[level.indexOf(picked) + (key === "ArrowDown" ? 1 : -1)];
  }

  drawing.addEventListener("keydown", (event) => {
    if (!event.key.startsWith("Arrow")) return;
    event.preventDefault();
    const next = walk(event.key);
    if (next) on.pick(next);
  });

  function at(number) {
    for (const node of nodes) {
      const born = node.born < number;
      groups.get(node).classList.toggle("unborn", !born);
      links.get(node).classList.toggle("unborn", !born);
      groups.get(node).classList.toggle("unjudged", value(node) !== null && node.fate !== "copy" && node.judged >= number);
    }
  }

  return { pick, at };
}

/** Returns the choice of what the tree shows. */
export function treeOptions(tree, state, onchange) {
  const copies = tree.nodes.filter((node) => node.fate === "copy").length;
  const dropped = tree.nodes.filter((node) => node.fate === "dropped").length;
  return select("show ", [
    ["distinct", copies ? `each thought once (${count(copies, "copy").replace("copys", "copies")} folded)` : "all"],
    ...(copies ? [["all", "copies too"]] : []),
    ...(dropped ? [["kept", `only what leads to an answer (${dropped.toLocaleString("en")} pruned hidden)`]] : []),
  ], state.which, onchange);
}

/** Returns the key to the drawing. */
export function legend(tree) {
  const has = (what) => tree.nodes.some((node) => node.fate === what);
  const sign = (name, ...children) => el("span", { class: "key" }, svg("svg", { width: 24, height: 22, viewBox: "-12 -11 24 22", class: name }, ...children));
  const item = (picture, words) => el("li", {}, picture, words);
  const scale = el("span", { class: "scale" }, [0, 0.25, 0.5, 0.75, 1].map((one) => el("span", { style: `background: ${colour(one)}` })));
  return el("ul", { class: "legend" },
    item(scale, "verifier's score, 0 to 1"),
    item(sign("node unscored", svg("circle", { class: "body", r: 7, fill: "none" })), "no score"),
    item(sign("", svg("path", { class: "link chosen", d: "M-12 0H12" })), "way to the chosen answer"),
    item(sign("node returned", svg("circle", { r: 10, class: "ring" }), svg("circle", { class: "body", r: 7, fill: colour(0.9) })), "returned as a solution, ✓ right, ✗ wrong"),
    has("dropped") && item(sign("node dropped", svg("circle", { class: "body", r: 5, fill: colour(0.3) })), "pruned: no returned solution comes from it"),
    has("copy") && item(el("b", { text: "×3" }), "sampled three times alike, searched once"));
}
