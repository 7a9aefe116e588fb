// The tree of pushes: which messages came out of which. The messenger that carried them knows (`traced.js`); where it does not tell,
// the tree is found from results and from what the messenger has uploaded.
//
// A result lists what its message sent. Each of those becomes an item signed by the messenger, with the sender in
// `From-Process` and the first message of all in `Pushed-For`; sender, target and anchor (for spawns: sender and tags) say
// which entry of which result it is.

import { tagOf } from "./show.js";
import { traced } from "./traced.js";
import * as compute from "./units/compute.js";
import * as gateway from "./units/gateway.js";

/** Most messages of a tree. */
export const MAX_NODES = 200;
/** Deepest level that is followed. */
export const MAX_DEPTH = 24;

/**
 * Collects the tree of a root message, `{ process, id, tags, owner, time }`: nodes of
 * `{ id, kind, process, target, action, tags, result, error, parent, children, depth, state }`.
 *
 * `kind` is `message`, `spawn` or `wallet`; `state` is `done`, `failed`, `waiting` (no result yet) or `unsent` (in a result,
 * but no item is known, or made and not scheduled). `told` says that the messenger told it. Calls `grown(tree)` whenever it knows more.
 */
export async function collect(root, { signal, grown }) {
  const told = await traced(root, MAX_NODES, { signal });
  if (told) {
    grown?.(told);
    return told;
  }
  const items = await descendants(root.id, signal);
  const free = new Set(items);
  const first = node({ id: root.id, kind: "message", process: root.process, target: root.process, tags: root.tags, depth: 0 });
  const tree = { root: first, nodes: [first], truncated: items.truncated === true, open: 0 };
  let level = [first];
  while (level.length > 0 && tree.nodes.length < MAX_NODES) {
    const results = await Promise.all(level.map((parent) => resultOf(parent, signal)));
    const next = [];
    results.forEach((result, index) => {
      const parent = level[index];
      if (!result) return;
      parent.result = result;
      parent.state = result.Error ? "failed" : "done";
      for (const sent of outgoing(result)) {
        if (tree.nodes.length >= MAX_NODES || parent.depth >= MAX_DEPTH) {
          tree.truncated = true;
          break;
        }
        const item = [...free].find((candidate) => same(candidate, sent, parent.process));
        if (item) free.delete(item);
        const child = node({ ...sent, ...(item && { id: item.id }), depth: parent.depth + 1, parent });
        if (!item) child.state = "unsent";
        else if (sent.kind === "spawn") child.process = item.id;
        parent.children.push(child);
        tree.nodes.push(child);
        if (item) next.push(child);
      }
    });
    if (signal.aborted) return tree;
    level = next;
    tell(tree, grown);
  }
  // What no result accounts for (another compute unit's, or one that is too old) still belongs to the root.
  for (const item of [...free].slice(0, MAX_NODES - tree.nodes.length)) {
    const its = node({
      id: item.id,
      kind: tagOf(item.tags, "Type") === "Process" ? "spawn" : "message",
      process: item.target || item.id,
      target: item.target,
      tags: item.tags,
      depth: 1,
      parent: first,
    });
    its.loose = true;
    first.children.push(its);
    tree.nodes.push(its);
  }
  await settleKinds(tree, signal);
  tell(tree, grown);
  return tree;
}

function tell(tree, grown) {
  tree.open = tree.nodes.filter(({ state }) => state === "unsent" || state === "waiting").length;
  grown?.(tree);
}

function node({ id, kind, process, target, tags, depth, parent = null }) {
  return { id, kind, process: process ?? target, target, tags, action: tagOf(tags, "Action"), depth, parent, children: [], state: "waiting", result: undefined };
}

async function descendants(root, signal) {
  const found = [];
  let after;
  for (;;) {
    const page = await gateway.items({ tags: { "Pushed-For": root }, first: gateway.PAGE, after, oldest: true }, { signal });
    // What the scheduler wrote about them is not of interest.
    found.push(...page.items.filter((item) => tagOf(item.tags, "Type") !== "Assignment"));
    if (found.length >= MAX_NODES) found.truncated = true;
    if (!page.more || found.length >= MAX_NODES) return found;
    after = page.cursor;
  }
}

async function resultOf(its, signal) {
  // Who receives nothing evaluates nothing: wallets do.
  if (its.kind === "wallet" || !its.id) return undefined;
  if (its.depth > 0 && (await isWallet(its, signal))) {
    its.kind = "wallet";
    its.state = "done";
    return undefined;
  }
  try {
    return await compute.result(its.process, its.id, { signal, timeout: 20_000 });
  } catch (error) {
    if (signal.aborted) throw error;
    its.error = error.message;
    return undefined;
  }
}

async function isWallet(its, signal) {
  if (its.kind === "spawn" || !its.target) return false;
  await gateway.namesOf([its.target], { signal }).catch(() => {});
  const name = gateway.nameOf(its.target);
  if (name === undefined) {
    // No item at all has this id: it is an address, or a process of a moment ago.
    const item = await gateway.find(its.target, { signal }).catch(() => null);
    return item === undefined;
  }
  return name === null;
}

async function settleKinds(tree, signal) {
  const targets = tree.nodes.map(({ process }) => process).filter(Boolean);
  await gateway.namesOf(targets, { signal }).catch(() => {});
}

function outgoing(result) {
  const list = (entries, kind) =>
    (Array.isArray(entries) ? entries : []).map((entry) => ({
      kind,
      target: typeof entry?.Target === "string" ? entry.Target : "",
      anchor: typeof entry?.Anchor === "string" ? entry.Anchor : "",
      tags: Array.isArray(entry?.Tags) ? entry.Tags.map(({ name, value }) => ({ name: String(name), value: String(value) })) : [],
    }));
  return [...list(result.Messages, "message"), ...list(result.Spawns, "spawn")];
}

function same(item, sent, from) {
  if (tagOf(item.tags, "From-Process") !== from) return false;
  const spawn = tagOf(item.tags, "Type") === "Process";
  if (spawn !== (sent.kind === "spawn")) return false;
  // The tags the messenger sets itself may differ, the process's own may not.
  const own = new Set(["Data-Protocol", "Type", "Variant", "From-Process", "From-Module", "Assignments", "Pushed-For", "Scheduler"]);
  const kept = sent.tags.every(({ name, value }) => own.has(name) || item.tags.some((tag) => tag.name === name && tag.value === value));
  return kept && (spawn || (item.target === sent.target && (sent.anchor === "" || item.anchor === "" || item.anchor === sent.anchor)));
}
