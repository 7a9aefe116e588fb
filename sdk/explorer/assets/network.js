// The units this page talks to, and how it asks them.

/** Longest wait for an answer that is not a stream, in milliseconds. */
const TIMEOUT_MS = 30_000;
/** Largest answer that is read, in bytes. */
export const MAX_ANSWER_BYTES = 32 << 20;
/** Longest excerpt of a unit's own words in an error, in characters. */
const EXCERPT = 400;

/** Names of the units as people read them. */
export const UNITS = { gateway: "Gateway", mu: "Messenger", su: "Scheduler", cu: "Compute" };

/** What is known of the network. URLs have no slash at the end; an unknown unit is `""`. */
export const network = { name: "", self: "", gateway: "", graphql: "", mu: "", su: "", cu: "", scheduler: "", authority: "", compute: "" };

/** A unit that did not answer as hoped, in words, with what to do. */
export class UnitError extends Error {
  constructor(unit, url, message, { status = 0, hint = "" } = {}) {
    super(message);
    this.name = "UnitError";
    Object.assign(this, { unit, url, status, hint });
  }
}

/** The text as a base URL with http or https and no slash at the end; `""` when it is none. */
export function baseUrl(text) {
  try {
    const url = new URL(String(text).trim());
    return url.protocol === "http:" || url.protocol === "https:" ? url.href.replace(/[?#].*$/, "").replace(/\/+$/, "") : "";
  } catch {
    return "";
  }
}

/** Learns the units from the service that serves this page, then from the page's address, which wins. */
export async function discover() {
  try {
    const answer = await fetch("network.json", { cache: "no-store" });
    if (answer.ok) adopt(await answer.json());
  } catch {
    // The page may be a copy from elsewhere; its address or the settings then name the units.
  }
  const given = new URLSearchParams(location.search);
  for (const unit of Object.keys(UNITS)) {
    const url = baseUrl(given.get(unit) ?? "");
    if (url !== "") {
      network[unit] = url;
      if (unit === "gateway") network.graphql = `${url}/graphql`;
      // Another scheduler has another wallet.
      if (unit === "su") network.scheduler = "";
    }
  }
}

function adopt(told) {
  for (const unit of Object.keys(UNITS)) network[unit] = baseUrl(told[`${unit}_url`]);
  const graphql = baseUrl(told.graphql_url) || network.gateway;
  network.graphql = graphql && !graphql.endsWith("/graphql") ? `${graphql}/graphql` : graphql;
  for (const name of ["name", "self", "scheduler", "authority", "compute"]) network[name] = String(told[name] ?? "");
  // Who serves the page is where the page came from, whatever name it has for itself.
  if (network.self in UNITS) {
    network[network.self] = baseUrl(new URL("..", document.baseURI));
    if (network.self === "gateway") network.graphql = `${network.gateway}/graphql`;
  }
}

/** The address of this page with these units in it; empty ones are left out. */
export function addressWith(units) {
  const url = new URL(location.href);
  for (const unit of Object.keys(UNITS)) {
    if (units[unit]) url.searchParams.set(unit, units[unit]);
    else url.searchParams.delete(unit);
  }
  return url.href;
}

/** Asks a unit, named as in {@link UNITS} or by its URL. Fails with a {@link UnitError}, or with an `AbortError`. */
export async function ask(unit, path, { signal, method = "GET", headers, body, timeout = TIMEOUT_MS } = {}) {
  const base = unit in UNITS ? network[unit] : unit;
  const name = UNITS[unit] ?? "unit";
  if (!base) {
    throw new UnitError(name, "", `This page does not know a ${name.toLowerCase()} unit.`, {
      hint: "Name one in the settings, or open the explorer that `holon up` serves.",
    });
  }
  const url = base + path;
  const limits = [AbortSignal.timeout(timeout), ...(signal ? [signal] : [])];
  let answer;
  try {
    answer = await fetch(url, { method, headers, body, signal: AbortSignal.any(limits), referrerPolicy: "no-referrer", cache: "no-store" });
  } catch (error) {
    if (signal?.aborted) throw error;
    const what = error.name === "TimeoutError" ? `did not answer within ${timeout / 1000} s` : "cannot be reached";
    throw new UnitError(name, url, `The ${name.toLowerCase()} unit at ${base} ${what}.`, {
      hint: "Is it running, and does it let pages of other origins ask (CORS)?",
    });
  }
  return answer;
}

/** Asks and fails unless the answer is a success. */
async function succeeded(unit, path, options) {
  const answer = await ask(unit, path, options);
  if (answer.ok && answer.status !== 202) return answer;
  if (answer.ok && options?.method === "POST") return answer;
  const said = await bounded(answer).catch(() => "");
  throw new UnitError(UNITS[unit] ?? "unit", path, excerpt(said) || `The unit answered ${answer.status}.`, { status: answer.status });
}

/** The answer's text. */
export async function text(unit, path, options) {
  return bounded(await succeeded(unit, path, options));
}

/** The answer's JSON. */
export async function json(unit, path, options) {
  return (await told(unit, path, options)).body;
}

/** The answer's JSON as `body`, and its `headers`. */
export async function told(unit, path, options) {
  const answer = await succeeded(unit, path, options);
  const said = await bounded(answer);
  try {
    return { body: JSON.parse(said), headers: answer.headers };
  } catch {
    throw new UnitError(UNITS[unit] ?? "unit", path, `The unit did not answer JSON: ${said.slice(0, EXCERPT)}`);
  }
}

/** The answer's bytes, at most `limit`, and whether there were more. */
export async function bytes(unit, path, limit, options) {
  return read(await succeeded(unit, path, options), limit, true);
}

async function bounded(answer) {
  const { data } = await read(answer, MAX_ANSWER_BYTES, false);
  return new TextDecoder().decode(data);
}

async function read(answer, limit, cut) {
  const reader = answer.body?.getReader();
  const parts = [];
  let length = 0;
  let more = false;
  while (reader) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    length += value.length;
    if (length > limit) {
      more = true;
      reader.cancel().catch(() => {});
      if (!cut) throw new UnitError("unit", answer.url, `The answer is longer than ${limit} bytes.`);
      break;
    }
  }
  const data = new Uint8Array(Math.min(length, limit));
  let at = 0;
  for (const part of parts) {
    const room = part.subarray(0, data.length - at);
    data.set(room, at);
    at += room.length;
  }
  return { data, more };
}

/** What a unit said about a failure, without the JSON around it. */
function excerpt(said) {
  let words = said;
  try {
    const told = JSON.parse(said);
    words = typeof told === "string" ? told : (told.error ?? told.message ?? said);
  } catch {
    // Not JSON: the words are what they are.
  }
  return String(words).trim().slice(0, EXCERPT);
}

/** `Name{labels} value` lines of a unit's metrics as `[name, labels, value]`. */
export async function metrics(unit, options) {
  const lines = (await text(unit, "/metrics", options)).split("\n");
  return lines.flatMap((line) => {
    const found = /^([a-zA-Z_:][\w:]*)(\{.*\})? (\S+)/.exec(line);
    return found ? [[found[1], found[2] ?? "", Number(found[3])]] : [];
  });
}

/** The sum of a metric over its labels; `undefined` when the unit does not tell it. */
export function total(series, name, label = "") {
  const found = series.filter(([its, labels]) => its === name && labels.includes(label));
  return found.length === 0 ? undefined : found.reduce((sum, [, , value]) => sum + value, 0);
}
