// A tree as a picture: levels from left to right, siblings below each other, parents in the middle of their children.

import { s, visible } from "./dom.js";
import { count, cut, messagePage, processPage, short, tagOf } from "./show.js";
import { nameOf } from "./units/gateway.js";

const WIDTH = 186;
const HEIGHT = 52;
const GAP_X = 56;
const GAP_Y = 14;
const EDGE = 4;

const STATES = { done: "evaluated", failed: "error", waiting: "no result yet", unsent: "not pushed yet" };

/** Places the nodes: sets `x` and `y` of each and returns the size of all. */
export function layOut(root) {
  let row = 0;
  let deepest = 0;
  const place = (node) => {
    node.x = EDGE + node.depth * (WIDTH + GAP_X);
    deepest = Math.max(deepest, node.depth);
    if (node.children.length === 0) {
      node.y = EDGE + row * (HEIGHT + GAP_Y);
      row += 1;
    } else {
      node.children.forEach(place);
      node.y = (node.children[0].y + node.children.at(-1).y) / 2;
    }
  };
  place(root);
  return { width: (deepest + 1) * (WIDTH + GAP_X) - GAP_X + 2 * EDGE, height: row * (HEIGHT + GAP_Y) - GAP_Y + 2 * EDGE };
}

/** The picture; `current` is the id of the message that is looked at. */
export function treePicture(tree, current) {
  const { width, height } = layOut(tree.root);
  const edges = [];
  const boxes = [];
  for (const node of tree.nodes) {
    if (node.parent) edges.push(edge(node));
    boxes.push(box(node, current));
  }
  const label = `Tree of ${tree.nodes.length} messages`;
  return s("svg.tree", { viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": label }, s("g.edges", {}, edges), boxes);
}

function edge({ x, y, parent, state, loose }) {
  const [fromX, fromY, toY] = [parent.x + WIDTH, parent.y + HEIGHT / 2, y + HEIGHT / 2];
  const bend = (x - fromX) / 2;
  const path = `M${fromX} ${fromY}C${fromX + bend} ${fromY} ${x - bend} ${toY} ${x} ${toY}`;
  return s("path", { d: path, class: state === "unsent" || loose ? "loose" : null });
}

function box(node, current) {
  const { x, y, id, kind, process, target, state, action, tags, error, took } = node;
  const name = kind === "wallet" ? `wallet ${short(target)}` : kind === "spawn" ? `new process ${tagOf(tags, "Name") ?? ""}`.trim() : nameOf(process) || short(process ?? "");
  const what = kind === "spawn" ? "Spawn" : (action ?? "no action");
  const arrived = kind === "wallet" && state === "done" ? "kept for the wallet" : STATES[state];
  const words = `${what} to ${name}: ${arrived}${took === undefined ? "" : ` in ${count(took)} ms`}`;
  const link = !id ? null : kind === "spawn" ? processPage(id) : kind === "wallet" ? messagePage(id) : messagePage(id, process);
  const parts = [
    s("title", {}, error ? `${words} (${error})` : words),
    s("rect", { x, y, width: WIDTH, height: HEIGHT, rx: 9 }),
    s("circle", { cx: x + 15, cy: y + 20, r: 4 }),
    s("text.what", { x: x + 26, y: y + 24 }, cut(visible(what), 19)),
    s("text.to", { x: x + 26, y: y + 41 }, cut(visible(`${kind === "message" ? "to " : ""}${name}`), 24)),
  ];
  const classes = { class: `node ${state}${kind === "wallet" ? " wallet" : ""}${id && id === current ? " current" : ""}` };
  if (!link) return s("g", { ...classes, role: "img", "aria-label": words }, parts);
  const current_ = id === current ? "true" : null;
  return s("a", { ...classes, href: link, "aria-label": words, "aria-current": current_ }, parts);
}
