// The tree of pushes as the messenger tells it: complete, with what is on its way and what was given up.

import { tagOf } from "./show.js";
import * as gateway from "./units/gateway.js";
import * as messenger from "./units/messenger.js";
import * as scheduler from "./units/scheduler.js";

/** Messages that are looked up in logs, one by one, because the gateway has not got them. */
const MAX_LOOK_UPS = 32;

/** Tags by id: they never change, so a tree that is looked at again asks only for what is new in it. */
const known = new Map();
/** Most kept. */
const MAX_KNOWN = 5_000;

/** The tree of a root message, as `collect` of `pushes.js` gives it, or `undefined` when no messenger tells. */
export async function traced(root, limit, { signal }) {
  const told = await messenger.trace(root.id, limit, { signal });
  if (!told) return undefined;
  const byId = new Map();
  const nodes = [];
  for (const one of told.nodes) {
    if (typeof one?.id !== "string" || byId.has(one.id)) continue;
    const parent = nodes.length === 0 ? null : byId.get(one.parent);
    // What belongs nowhere cannot be drawn.
    if (nodes.length > 0 && !parent) continue;
    const node = nodeOf(one, parent);
    byId.set(node.id, node);
    nodes.push(node);
    parent?.children.push(node);
  }
  if (nodes.length === 0) return undefined;
  Object.assign(nodes[0], { process: root.process, target: root.process, tags: root.tags, action: tagOf(root.tags, "Action") });
  await describe(nodes.slice(1), signal);
  const targets = nodes.map(({ process }) => process).filter(Boolean);
  await gateway.namesOf(targets, { signal }).catch(() => {});
  const open = nodes.filter(({ state }) => state === "unsent" || state === "waiting").length;
  // Tasks of the whole push that are left to do are not all items of their own yet.
  const waiting = Number.isSafeInteger(told.waiting) ? told.waiting : 0;
  return { root: nodes[0], nodes, truncated: told.truncated === true, open: Math.max(open, waiting), told: true };
}

function nodeOf({ id, kind, to, result, scheduledAt, evaluatedAt, duplicate, gaveUp, nonce, madeAt }, parent) {
  const target = typeof to === "string" ? to : "";
  const lost = Array.isArray(gaveUp) ? gaveUp.map((given) => String(given?.[1] ?? given)) : [];
  const drawn = { "wallet-message": "wallet", process: "spawn" }[kind] ?? "message";
  const error = typeof result?.error === "string" ? result.error : undefined;
  const arrived = evaluatedAt || duplicate || (drawn !== "message" && scheduledAt);
  const state = lost.length > 0 || error ? "failed" : arrived ? "done" : scheduledAt ? "waiting" : "unsent";
  return {
    id,
    kind: drawn,
    process: drawn === "spawn" ? id : target,
    target,
    tags: [],
    action: kind === "notice" ? "Spawned" : kind === "assignment" ? "Assignment" : undefined,
    depth: parent ? parent.depth + 1 : 0,
    parent,
    children: [],
    state,
    error: lost.length > 0 ? `given up: ${lost.join("; ")}` : error,
    nonce,
    took: evaluatedAt && madeAt ? evaluatedAt - madeAt : undefined,
  };
}

/** Fills in what the messenger does not tell: tags, from the gateway, or from the log as long as that has nothing. */
async function describe(nodes, signal) {
  const unknown = () => nodes.filter(({ id }) => !known.has(id));
  if (known.size > MAX_KNOWN) known.clear();
  const ids = unknown().map(({ id }) => id);
  for (let at = 0; at < ids.length; at += gateway.PAGE) {
    const some = ids.slice(at, at + gateway.PAGE);
    const page = await gateway.items({ ids: some, first: some.length }, { signal }).catch(() => ({ items: [] }));
    for (const { id, tags } of page.items) known.set(id, tags);
  }
  const rest = unknown().filter(({ kind, state }) => kind === "message" && state !== "unsent");
  const found = rest.slice(0, MAX_LOOK_UPS).map(async ({ id, process }) => {
    const entry = await scheduler.find(process, id, { signal }).catch(() => undefined);
    if (entry?.message) known.set(id, entry.message.tags);
  });
  await Promise.all(found);
  for (const node of nodes) {
    node.tags = known.get(node.id) ?? [];
    node.action = tagOf(node.tags, "Action") ?? node.action;
  }
}
