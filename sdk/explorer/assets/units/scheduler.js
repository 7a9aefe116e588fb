// Logs of processes, at the scheduler of each.

import { UnitError, baseUrl, json, network } from "../network.js";
import { tagOf } from "../show.js";
import * as gateway from "./gateway.js";

/** Processes whose scheduler is remembered. */
const MAX_KNOWN = 5_000;
const known = new Map();

/** Where a process is scheduled and how it was spawned: `{ url, id, owner, tags, time, height, data }`. */
export function home(process) {
  let found = known.get(process);
  if (!found) {
    // Whoever asks next gets the same answer, so it does not end with the view that asked first.
    found = lookUp(process);
    if (known.size > MAX_KNOWN) known.clear();
    known.set(process, found);
    // A failure may be over the next time.
    found.catch(() => known.delete(process));
  }
  return found;
}

async function lookUp(process) {
  if (network.su) {
    try {
      return { url: network.su, ...spawned(await json("su", `/processes/${process}`)) };
    } catch (error) {
      if (!(error instanceof UnitError)) throw error;
    }
  }
  const item = await gateway.find(process);
  if (!item) {
    throw new UnitError("Gateway", "", "No such process is known here.", {
      status: 404,
      hint: "Check the id. A process that was spawned just now appears once its scheduler has it.",
    });
  }
  if (tagOf(item.tags, "Type") !== "Process") {
    throw new UnitError("Gateway", "", "This id is not a process.", { status: 404, hint: "It may be a message or a module." });
  }
  const wallet = tagOf(item.tags, "Scheduler") ?? "";
  const url = wallet !== "" && wallet === network.scheduler ? network.su : baseUrl(await gateway.locate(wallet));
  if (!url) {
    throw new UnitError("Scheduler", "", `Nobody tells where the scheduler ${wallet || "of this process"} is.`, {
      hint: "Name its URL in the settings.",
    });
  }
  return { url, ...item };
}

function spawned(told) {
  const process = {
    id: told.process_id,
    owner: told.owner?.address ?? "",
    tags: told.tags ?? [],
    time: told.timestamp,
    height: Number(told.block),
    data: told.data ?? "",
  };
  gateway.remember(process);
  return process;
}

/** The newest entry of a log, or `undefined` when nothing but the process itself is in it. */
export async function newest(process, options) {
  const { url } = await home(process);
  try {
    return entry(await json(url, `/${process}/latest`, options), process);
  } catch (error) {
    if (error instanceof UnitError && error.status === 404) return undefined;
    throw error;
  }
}

/** Entries with nonces `first` to `last`, both included, as the scheduler gives them: it may end a page early. */
export async function page(process, first, last, options) {
  const { url } = await home(process);
  const path = `/${process}?from-nonce=${first - 1}&to-nonce=${last}&limit=${last - first + 1}`;
  const { edges } = await json(url, path, options);
  return edges.map((edge) => entry(edge.node, process)).filter(({ nonce }) => nonce >= first && nonce <= last);
}

/** The entry of a message in the log of a process, by the id of the message or of its assignment. */
export async function find(process, message, options) {
  const { url } = await home(process);
  return entry(await json(url, `/${message}?process-id=${process}`, options), process);
}

/** Where the events of the log of a process are told. */
export function events(url, process) {
  return `${url}/events${process ? `?process-id=${process}` : ""}`;
}

function entry({ message, assignment }, process) {
  const tag = (name) => tagOf(assignment.tags, name);
  return {
    process,
    nonce: Number(tag("Nonce")),
    time: Number(tag("Timestamp")),
    height: Number(tag("Block-Height")),
    assignment: { id: assignment.id, tags: assignment.tags, owner: assignment.owner?.address ?? "" },
    // An assigned message is not in the answer, only its id.
    id: message?.id ?? tag("Message") ?? process,
    message: message && {
      id: message.id,
      owner: message.owner?.address ?? "",
      target: message.target ?? "",
      anchor: message.anchor ?? "",
      tags: message.tags ?? [],
      data: message.data,
    },
  };
}
