// What the gateway knows: items by their tags, what is settled, and in which block.

import { UnitError, json, network, bytes } from "../network.js";
import { isId, tagOf } from "../show.js";

const NODE = "id anchor recipient owner{address} block{height timestamp} data{size} bundledIn{id} tags{name value}";
/** Most entries a gateway gives at once. */
export const PAGE = 100;
/** Bytes of data that are read to be shown. */
export const MAX_DATA_BYTES = 256 << 10;

/** Asks GraphQL. */
export async function graphql(query, variables, options) {
  const url = network.graphql;
  if (!url) return json("gateway", "/graphql", options);
  const answer = await json(url, "", {
    ...options,
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ query, variables }),
  });
  if (answer.errors?.length > 0 && !answer.data) {
    throw new UnitError("Gateway", url, `The gateway refused a query: ${answer.errors[0].message}`);
  }
  return answer.data;
}

/** A page of items: `{ items, more, cursor }`. `filter` has `tags` as `{name: [values]}`, `ids`, `owners`, `first`, `after`, `oldest`. */
export async function items(filter, options) {
  const data = await graphql(
    `query($ids:[ID!],$owners:[String!],$tags:[TagFilter!],$first:Int,$after:String,$sort:SortOrder){
      transactions(ids:$ids,owners:$owners,tags:$tags,first:$first,after:$after,sort:$sort){pageInfo{hasNextPage} edges{cursor node{${NODE}}}}}`,
    {
      ids: filter.ids,
      owners: filter.owners,
      tags: Object.entries(filter.tags ?? {}).map(([name, values]) => ({ name, values: [values].flat() })),
      first: filter.first ?? 50,
      after: filter.after,
      sort: filter.oldest ? "HEIGHT_ASC" : "HEIGHT_DESC",
    },
    options,
  );
  const { edges, pageInfo } = data.transactions;
  return { items: edges.map((edge) => item(edge.node)), more: pageInfo.hasNextPage, cursor: edges.at(-1)?.cursor };
}

function item(node) {
  return {
    id: node.id,
    owner: node.owner?.address ?? "",
    target: node.recipient ?? "",
    // Base64url in GraphQL, text everywhere else.
    anchor: anchorText(node.anchor),
    tags: node.tags ?? [],
    size: Number(node.data?.size ?? 0),
    height: node.block?.height,
    time: node.block ? node.block.timestamp * 1000 : undefined,
    bundle: node.bundledIn?.id,
  };
}

function anchorText(text) {
  if (!text) return "";
  try {
    const raw = Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
    return new TextDecoder("utf-8", { fatal: true }).decode(raw);
  } catch {
    return "";
  }
}

/** One item, or `undefined` while the gateway has not got it. */
export async function find(id, options) {
  return (await items({ ids: [id], first: 1 }, options)).items[0];
}

/** Data of an item, cut at {@link MAX_DATA_BYTES}. */
export async function data(id, options) {
  return bytes("gateway", `/raw/${id}`, MAX_DATA_BYTES, options);
}

/** `{ height }` of the newest block. */
export async function info(options) {
  return json("gateway", "/info", options);
}

/** Newest place of a scheduler, by its own word; `""` when it has told none. */
export async function locate(scheduler, options) {
  const filter = { owners: [scheduler], tags: { "Data-Protocol": "ao", Type: "Scheduler-Location" }, first: 1 };
  const [found] = (await items(filter, options)).items;
  return found ? (tagOf(found.tags, "Url") ?? "") : "";
}

/** The newest entry of a process that is settled, as its nonce. */
export async function settledUpTo(process, options) {
  const filter = { tags: { Type: "Assignment", Process: process }, first: 10 };
  const { items: found } = await items(filter, options);
  const nonces = found.map((entry) => Number(tagOf(entry.tags, "Nonce"))).filter(Number.isSafeInteger);
  return nonces.length === 0 ? undefined : { nonce: Math.max(...nonces), height: found[0].height };
}

const names = new Map();
/** When ids were asked for that the gateway has nothing about: it may get to know them. */
const misses = new Map();
/** Most names kept. */
const MAX_NAMES = 20_000;
/** Time before something unknown is asked for again, in milliseconds. */
const MISS_MS = 30_000;

/** Names of processes by id; those without one are left out. Asked once per process. */
export async function namesOf(ids, options) {
  const now = Date.now();
  const due = (id) => isId(id) && !names.has(id) && !(now - misses.get(id) < MISS_MS);
  const unknown = [...new Set(ids)].filter(due).slice(0, PAGE);
  if (unknown.length > 0) {
    if (misses.size > MAX_NAMES) misses.clear();
    for (const id of unknown) misses.set(id, now);
    const { items: found } = await items({ ids: unknown, first: unknown.length }, options);
    if (names.size > MAX_NAMES) names.clear();
    for (const process of found) remember(process);
  }
  return names;
}

/** Keeps the name of a process that was seen anyway. */
export function remember({ id, tags }) {
  names.set(id, tagOf(tags, "Type") === "Process" ? (tagOf(tags, "Name") ?? "") : null);
}

/** What {@link namesOf} has learned: a name, `""` for a process without, `null` for what is none, `undefined` if unknown. */
export function nameOf(id) {
  return names.get(id);
}
