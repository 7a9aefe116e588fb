// What the messenger knows of what it carries.

import { UnitError, json, network } from "../network.js";

/** Longest wait for a trace, in milliseconds. */
const TRACE_MS = 10_000;

/**
 * A message and everything that follows from it, as the messenger that took it tells: `{ nodes, waiting, truncated, … }`. `undefined`
 * when it does not tell: it is not known, keeps traces to its operator, never saw the message, or is a unit without traces.
 */
export async function trace(message, limit, { signal }) {
  if (!network.mu) return undefined;
  try {
    const told = await json("mu", `/trace/${message}?limit=${limit}`, { signal, timeout: TRACE_MS });
    return Array.isArray(told?.nodes) && told.nodes.length > 0 ? told : undefined;
  } catch (error) {
    if (signal.aborted || !(error instanceof UnitError)) throw error;
    return undefined;
  }
}
