// Places the nodes of a search: its depth across, its leaves one below the other.

/** Returns the nodes that are shown: all, without copies, or only those that lead to an answer. */
export function visible(tree, which) {
  const shown = (node) => (which === "all" ? true : node.fate !== "copy" && (which === "distinct" || node.fate !== "dropped"));
  const found = [];
  const stack = [...tree.top].reverse();
  while (stack.length) {
    const node = stack.pop();
    if (!shown(node)) continue;
    found.push(node);
    stack.push(...[...node.children].reverse());
  }
  return found;
}

/**
 * Returns places by node, and the size of the drawing in pixels. `room` is the width there is.
 */
export function placed(nodes, room) {
  const shown = new Set(nodes);
  const deepest = nodes.reduce((most, node) => Math.max(most, node.depth), 1);
  const across = Math.max(54, Math.min(150, (room - 150) / deepest));
  const places = new Map();
  let leaves = 0;
  const down = nodes.length > 600 ? 16 : 22;
  for (let at = nodes.length - 1; at >= 0; at -= 1) { // children before their parents, the last first
    const node = nodes[at];
    const below = node.children.filter((child) => shown.has(child)).map((child) => places.get(child).y);
    const y = below.length ? (Math.min(...below) + Math.max(...below)) / 2 : down * leaves++;
    places.set(node, { x: 26 + node.depth * across, y });
  }
  const height = Math.max(1, leaves) * down + 24;
  for (const place of places.values()) place.y = height - 22 - place.y; // the first one at the top
  const ys = nodes.filter((node) => node.above < 0).map((node) => places.get(node).y);
  const root = { x: 26, y: ys.length ? (Math.min(...ys) + Math.max(...ys)) / 2 : height / 2 };
  return { places, root, across, width: 26 + deepest * across + 130, height };
}

const FAN = 24; // children from which on their lines are one trunk with branches, and no fan

/** Returns the line between a node's place and that of one of its `siblings` children. */
export function curve(from, to, siblings) {
  if (siblings > FAN) return `M${from.x} ${from.y}H${from.x + 26}V${to.y}H${to.x}`;
  const middle = (from.x + to.x) / 2;
  return `M${from.x} ${from.y}C${middle} ${from.y} ${middle} ${to.y} ${to.x} ${to.y}`;
}
