// Small things every view shows: ids, times, sizes, tags, results in a line, and what to say when there is nothing.

import { append, fill, h } from "./dom.js";
import { UnitError } from "./network.js";

const ID = /^[A-Za-z0-9_-]{43}$/;

/** Whether a text is shaped like an id or an address. */
export const isId = (text) => typeof text === "string" && ID.test(text);

/** Value of the first tag with a name. */
export const tagOf = (tags, name) => tags?.find?.((tag) => tag.name === name)?.value;

/** First and last letters of an id, in the width of a few words. */
export const short = (text) => (text.length > 20 ? `${text.slice(0, 6)}…${text.slice(-5)}` : text);

/** Cuts a text in the middle of nothing: after `limit` characters, with an ellipsis. */
export function cut(text, limit) {
  const letters = [...text.slice(0, limit * 2)];
  return letters.length > limit ? `${letters.slice(0, limit).join("")}…` : text;
}

/** An icon of one path in a 16 by 16 box. */
function icon(path) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

/** The icons. */
export const icons = {
  copy: () => icon("M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8z"),
  done: () => icon("M3 8.5 6.5 12 13 4.5"),
  open: () => icon("M6 3.5H3.5v9h9V10M9 3.5h3.5V7M12.5 3.5 7.5 8.5"),
  chevron: () => icon("m6 3.5 4.5 4.5L6 12.5"),
  search: () => icon("M10.5 10.5 14 14M7 11.5a4.5 4.5 0 1 1 0-9 4.5 4.5 0 0 1 0 9z"),
  sun: () => icon("M8 5a3 3 0 1 1 0 6 3 3 0 0 1 0-6M8 1.5v1M8 13.5v1M1.5 8h1M13.5 8h1M3.4 3.4l.7.7M11.9 11.9l.7.7M3.4 12.6l.7-.7M11.9 4.1l.7-.7"),
  moon: () => icon("M13.5 9.6A5.8 5.8 0 0 1 6.4 2.5a5.8 5.8 0 1 0 7.1 7.1z"),
  gear: () => icon("M2 4.5h7M12 4.5h2M2 11.5h2M7 11.5h7M9 4.5a1.5 1.5 0 1 0 3 0 1.5 1.5 0 1 0-3 0M4 11.5a1.5 1.5 0 1 0 3 0 1.5 1.5 0 1 0-3 0"),
  plus: () => icon("M8 3v10M3 8h10"),
  cross: () => icon("m4 4 8 8M12 4l-8 8"),
};

/** A button that copies a text. */
export function copyButton(text, what = "id") {
  const button = h("button.copy", { type: "button", title: `Copy ${what}`, "aria-label": `Copy ${what} ${text}` }, icons.copy());
  button.addEventListener("click", async (event) => {
    event.preventDefault();
    event.stopPropagation();
    const copied = await copy(text);
    fill(button, copied ? icons.done() : icons.cross());
    button.classList.toggle("copied", copied);
    setTimeout(() => {
      fill(button, icons.copy());
      button.classList.remove("copied");
    }, 1_200);
  });
  return button;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Pages that are not from this machine nor over HTTPS have no clipboard: an old way is left.
    const area = h("textarea.offscreen", { value: text });
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    return copied;
  }
}

/** An id, shortened, with a link when it leads somewhere, and a way to copy it. */
export function id(text, { href, label, whole = false, copies = true } = {}) {
  if (!text) return h("span.faint", "none");
  const shown = label || (whole ? text : isId(text) ? short(text) : cut(text, 60));
  const name = label ? "span.name" : "code";
  const inner = h(name, { title: text }, shown);
  return h("span.id", href ? h("a", { href }, inner) : inner, copies && copyButton(text));
}

/** Address of the page of a process. */
export const processPage = (process) => `#/process/${process}`;
/** Address of the page of a message. */
export const messagePage = (message, process) => `#/message/${message}${process ? `?process=${process}` : ""}`;

const STEPS = [[60, "s"], [60, "min"], [24, "h"], [30, "d"], [12, "mo"], [Infinity, "y"]];

/** How long ago, in one unit. */
export function ago(time, now = Date.now()) {
  let value = Math.max(0, now - time) / 1000;
  if (value < 2) return "just now";
  for (const [size, unit] of STEPS) {
    if (value < size) return `${Math.floor(value)} ${unit} ago`;
    value /= size;
  }
  return "";
}

/** A time as how long ago it was, with the time itself for those who point at it. It stays true as time passes. */
export function when(time) {
  if (!Number.isFinite(time) || Math.abs(time) > 8.64e15) return h("span.faint", "–");
  const date = new Date(time);
  const element = h("time", { datetime: date.toISOString(), title: `${date.toLocaleString()} · ${time}` }, ago(time));
  element.dataset.time = String(time);
  return element;
}

/** Renews what {@link when} shows. */
export function renewTimes() {
  const now = Date.now();
  for (const element of document.querySelectorAll("time[data-time]")) {
    const text = ago(Number(element.dataset.time), now);
    if (element.textContent !== text) element.textContent = text;
  }
}

/** A count with its thousands apart. */
export const count = (number) => (Number.isFinite(number) ? number.toLocaleString("en") : "–");

/** A size in bytes, in the unit that suits it. */
export function size(bytes) {
  if (!Number.isFinite(bytes)) return "–";
  let value = bytes;
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (value < 1024 || unit === "GiB") return `${value < 10 && unit !== "B" ? value.toFixed(1) : Math.round(value)} ${unit}`;
    value /= 1024;
  }
  return "";
}

/** Milliseconds, short. */
export const milliseconds = (ms) => (ms < 1 ? "<1 ms" : ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);

/** A table of tags. */
export function tagTable(tags, { links = true } = {}) {
  if (tags.length === 0) return h("p.faint", "No tags.");
  return h(
    "div.scroll",
    h(
      "table.tags",
      h("tbody", tags.map(({ name, value }) => h("tr", h("th", { scope: "row" }, name), h("td", links ? tagValue(name, value) : value)))),
    ),
  );
}

/** Tags whose value is a process, and those whose value is a message of the process at hand. */
const PROCESS_TAGS = new Set(["Process"]);
const MESSAGE_TAGS = new Set(["Pushed-For", "Message"]);

/** A tag that whoever signed chose freely; whether it is true is told where the sender is. */
const CLAIM = "From-Process";

function tagValue(name, value) {
  if (name === CLAIM) {
    const title = "Whoever signs an item writes this tag. Beside \"From\" stands whether it can be believed.";
    return h("span.row", isId(value) ? id(value, { whole: true }) : value, h("span.chip.said-so", { title }, "said by the signer"));
  }
  if (isId(value)) {
    const href = PROCESS_TAGS.has(name) ? processPage(value) : MESSAGE_TAGS.has(name) ? messagePage(value) : undefined;
    return id(value, { href, whole: true });
  }
  return value === "" ? h("span.faint", "empty") : value;
}

/** Colours of terminals, which consoles of processes write. */
// eslint-disable-next-line no-control-regex
const COLOURS = /\u001b\[[0-9;]*m/g;

/** What a process said, as text. */
export function outputText(output) {
  if (output === null || output === undefined) return "";
  if (typeof output !== "object") return String(output).replace(COLOURS, "");
  const inner = output.data ?? output;
  const said = typeof inner === "object" && inner !== null && "output" in inner ? inner.output : inner;
  return (typeof said === "string" ? said : JSON.stringify(said, null, 2)).replace(COLOURS, "");
}

/** The error of a result as text; `""` without one. */
export function errorText(error) {
  if (error === null || error === undefined || error === "" || error === false) return "";
  if (typeof error === "string") return error.replace(COLOURS, "");
  return error.message ?? JSON.stringify(error);
}

/** What it means that a result is unchecked. */
export const UNCHECKED = "The scheduler does not say all that the signatures cover, so the compute unit could not check what it says about the message.";

/** What came of a message, in a line. */
export function outcome(result) {
  const error = errorText(result.Error);
  const unchecked = result.unchecked ? h("span.chip.warn", { title: UNCHECKED }, "unchecked") : "";
  if (error) return h("span.outcome", unchecked, h("span.chip.bad", "error"), h("span.said", { title: cut(error, 500) }, cut(error, 90)));
  const sent = [
    [result.Messages?.length, "message"],
    [result.Spawns?.length, "spawn"],
    [result.Assignments?.length, "assignment"],
  ];
  const said = outputText(result.Output).trim();
  const chips = sent.flatMap(([number, word]) =>
    number > 0 ? [h("span.chip", `${number} ${word}${number === 1 ? "" : "s"}`)] : [],
  );
  if (said === "" && chips.length === 0) return h("span.outcome", unchecked, h("span.faint", "nothing said or sent"));
  return h("span.outcome", unchecked, said !== "" && h("span.said", { title: cut(said, 500) }, cut(said.split("\n")[0], 90)), chips);
}

/** Something that is not there, and what to do about it. */
export function empty(title, ...advice) {
  return h("div.empty", { role: "status" }, h("p.title", title), advice.length > 0 && h("p", advice));
}

/** An error, with what to do and a way to try again. */
export function failure(error, again) {
  const told = error instanceof UnitError ? error : null;
  return h(
    "div.empty.failed",
    { role: "alert" },
    h("p.title", told ? told.message : `Something went wrong in this page: ${error.message}`),
    told?.hint && h("p", told.hint),
    again && h("p", h("button.quiet", { type: "button", onclick: again }, "Try again")),
  );
}

/** Bars where something is about to be. */
export const waiting = (rows = 3) =>
  h("div.waiting", { "aria-busy": "true", "aria-label": "Loading" }, Array.from({ length: rows }, () => h("span.bar")));

/**
 * Fills `place` with what `work` finds: bars meanwhile, `render(found)` then, and on failure what happened and a button
 * that begins anew.
 */
export async function load(place, signal, work, render) {
  fill(place, waiting());
  try {
    const found = await work();
    if (!signal.aborted) fill(place, render(found));
  } catch (error) {
    if (!signal.aborted) fill(place, failure(error, () => load(place, signal, work, render)));
  }
}

/** A labelled fact. */
export const fact = (label, ...value) => h("div.fact", h("dt", label), h("dd", value));

/** A titled part of a page. */
export function section(title, ...children) {
  return h("section.card", title && h("h2", title), children);
}

/** A word on how current the page is. */
export function liveMark() {
  const word = h("span", "…");
  const mark = h("span.live", { "data-state": "waiting", role: "status" }, h("span.dot"), word);
  const words = { live: "live", polling: "every few seconds", waiting: "connecting", paused: "paused" };
  mark.say = (state) => {
    mark.dataset.state = state;
    word.textContent = words[state] ?? state;
  };
  mark.say("waiting");
  return mark;
}

export { append };
