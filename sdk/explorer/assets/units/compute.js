// Results and states, at the compute unit.

import { ask, json, network, told } from "../network.js";

/** Longest wait for a result: evaluating a long log takes its time. In milliseconds. */
const RESULT_MS = 600_000;

/** Result of a message; `unchecked` if the scheduler did not let the compute unit check everything that it said of the message. */
export async function result(process, message, options) {
  const { body, headers } = await told("cu", `/result/${message}?process-id=${process}`, { timeout: RESULT_MS, ...options });
  return { ...body, unchecked: headers.has("unchecked") };
}

/** The newest stored results after one cursor up to another, newest first: `[{ result, at }]`, where `at` is `{ timestamp, ordinate, cron }`, and a `result` as above. */
export async function results(process, from, to, limit, options) {
  const query = new URLSearchParams({ sort: "DESC", limit: String(limit) });
  if (from) query.set("from", cursor(from));
  if (to) query.set("to", cursor(to));
  const { edges } = await json("cu", `/results/${process}?${query}`, { timeout: RESULT_MS, ...options });
  return edges.flatMap(({ node, cursor: text, unchecked }) => {
    const at = place(text);
    return at ? [{ result: { ...node, unchecked: unchecked === true }, at }] : [];
  });
}

function cursor({ timestamp, ordinate, cron = null }) {
  return btoa(JSON.stringify({ timestamp, ordinate: String(ordinate), cron, sort: "DESC" }));
}

function place(text) {
  try {
    const { timestamp, ordinate, cron } = JSON.parse(atob(text));
    return { timestamp, ordinate: Number(ordinate), cron };
  } catch {
    return undefined;
  }
}

/** State root of a process at a slot, at the newest one without. */
export async function root(process, slot, options) {
  const at = slot === undefined ? "" : `slot=${slot}&`;
  return json("cu", `/root/${process}?${at}no-busy=1`, { timeout: RESULT_MS, ...options });
}

/** Processes that are parked. */
export async function parked(options) {
  const told = await json("cu", "/parked", options);
  return Array.isArray(told.parked) ? told.parked : [];
}

/** The answer to a message that leaves no trace: `{ Owner, Target, Tags, Data, … }`. */
export async function dryRun(process, message, options) {
  return json("cu", `/dry-run?process-id=${process}`, {
    timeout: RESULT_MS,
    ...options,
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(message),
  });
}

/** Where the results of a process are told, from a cursor on or from now. */
export function events(process, from) {
  return `${network.cu}/events/${process}${from ? `?from=${encodeURIComponent(from)}` : ""}`;
}

/** Whether the unit answers and how fast, in milliseconds. */
export async function ping(unit, path, options) {
  const begun = performance.now();
  const answer = await ask(unit, path, { timeout: 5_000, ...options });
  await answer.arrayBuffer();
  return performance.now() - begun;
}
