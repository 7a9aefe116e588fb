// The log of a process with what came of each message: fifty slots at a time, however long the log is.

import { fill, h } from "../dom.js";
import { every, follow, Turns } from "../live.js";
import { network } from "../network.js";
import { count, empty, errorText, failure, id, messagePage, outcome, processPage, tagOf, tagTable, waiting, when } from "../show.js";
import { senderView } from "../sender.js";
import * as compute from "../units/compute.js";
import * as gateway from "../units/gateway.js";
import * as scheduler from "../units/scheduler.js";
import { dataView } from "./data.js";
import { resultView } from "./result.js";

/** Slots of a page. */
export const PAGE = 50;
/** Results of crons shown on a page, which may have more of them than messages. */
const MAX_CRONS = 50;
/** Pause before results that did not come by themselves are asked for, in milliseconds. */
const PATIENCE_MS = 1_200;

/** The list, kept up to date while its newest page is shown. `heard(nonce)` is told of every slot that is seen. */
export function messages(process, { signal, mark, heard, slot }) {
  const rows = new Map();
  const turns = new Turns(3);
  const view = { newest: undefined, last: undefined, following: true, cursor: undefined, turning: new AbortController() };
  const body = h("tbody");
  const table = h(
    "div.scroll",
    h("table.messages", h("thead", h("tr", ["", "Slot", "When", "Action", "From", "Outcome"].map((name) => h("th", { scope: "col" }, name || h("span.offscreen", "Open"))))), body),
  );
  const place = h("div", waiting(8));
  const range = h("span.faint", { role: "status" });
  const jump = h("input.slot", { type: "number", min: 0, placeholder: "slot", "aria-label": "Go to slot", inputmode: "numeric" });
  const first = button("⇤", "Oldest messages", () => go(PAGE - 1));
  const older = button("Older", "Older messages", () => go(view.last - PAGE));
  const newer = button("Newer", "Newer messages", () => go(view.last + PAGE));
  const last = button("⇥", "Newest messages", () => go(view.newest));
  const fresh = h("button.fresh", { type: "button", hidden: true, onclick: () => go(view.newest) });

  function button(text, label, onclick) {
    return h("button.quiet", { type: "button", "aria-label": label, title: label, onclick }, text);
  }

  const lowest = () => Math.max(0, view.last - PAGE + 1);

  function controls() {
    const { newest, last: top } = view;
    first.disabled = older.disabled = lowest() === 0;
    newer.disabled = last.disabled = top >= newest;
    jump.max = String(newest);
    range.textContent = !newest ? "" : `slots ${count(lowest())} to ${count(top)} of ${count(newest)}`;
    const behind = newest - top;
    fresh.hidden = !(behind > 0) || view.following;
    fresh.textContent = `${count(behind)} newer`;
  }

  async function go(top, target) {
    view.turning.abort();
    view.turning = new AbortController();
    const turning = AbortSignal.any([signal, view.turning.signal]);
    view.last = Math.max(Math.min(top, view.newest), Math.min(PAGE - 1, view.newest));
    view.following = view.last === view.newest;
    rows.clear();
    controls();
    try {
      const [low, high] = [lowest(), view.last];
      const entries = await entriesBetween(low, high, turning);
      if (turning.aborted) return;
      body.replaceChildren();
      for (const entry of entries) add(entry);
      if (!table.isConnected) fill(place, table);
      if (entries.length === 0) fill(place, empty("The scheduler has nothing in this range."));
      if (target !== undefined) rows.get(target)?.point();
      await results(entries, turning);
    } catch (error) {
      if (!turning.aborted) fill(place, failure(error, () => go(top, target)));
    }
  }

  async function entriesBetween(low, high, turning) {
    const entries = [];
    // A scheduler may end a page early when its entries are large.
    for (let from = low; from <= high; ) {
      const page = await scheduler.page(process, from, high, { signal: turning });
      if (page.length === 0) break;
      entries.push(...page);
      from = page.at(-1).nonce + 1;
    }
    return entries;
  }

  function add(entry) {
    if (rows.has(entry.nonce)) return;
    heard(entry.nonce);
    const row = messageRow(process, entry, signal);
    rows.set(entry.nonce, row);
    insert(row.nodes, entry.nonce, entry.time);
  }

  // Newest first; a cron's result stands above the message before it.
  function insert(nodes, nonce, time) {
    const older = [...body.children].find((other) => !other.classList.contains("detail") && (Number(other.dataset.nonce) < nonce || (Number(other.dataset.nonce) === nonce && Number(other.dataset.time) <= time)));
    for (const node of nodes) body.insertBefore(node, older ?? null);
  }

  /** What has been evaluated comes as a page; what is missing then is asked for one by one, which evaluates it. */
  async function results(entries, turning) {
    if (entries.length === 0 || !network.cu) {
      for (const row of rows.values()) row.without();
      return;
    }
    const [low, high] = [entries[0], entries.at(-1)];
    try {
      const from = { timestamp: low.time - 1, ordinate: 0 };
      // Crons come after the newest message too. No cron's name sorts after the last letter there is.
      const to = view.following ? undefined : { timestamp: high.time, ordinate: high.nonce, cron: "\u007f" };
      for (const told of await compute.results(process, from, to, PAGE + MAX_CRONS, { signal: turning })) show(told);
    } catch (error) {
      if (turning.aborted) throw error;
    }
    ask(entries.map((entry) => entry.nonce), turning);
  }

  function ask(nonces, turning) {
    for (const nonce of nonces) {
      const row = rows.get(nonce);
      if (!row || row.result) continue;
      turns
        .run(async () => row.result ?? compute.result(process, row.entry.id, { signal: turning }), turning)
        .then(row.show, (error) => turning.aborted || row.failed(error));
    }
  }

  function show({ result, at }) {
    if (at.cron === null || at.cron === undefined) return rows.get(at.ordinate)?.show(result);
    const key = `${at.timestamp} ${at.cron}`;
    if (rows.has(key) || at.ordinate < lowest() || at.ordinate > view.last) return undefined;
    const row = cronRow(at, result);
    rows.set(key, row);
    insert(row.nodes, at.ordinate, at.timestamp);
    const crons = [...rows].filter(([, its]) => its.time !== undefined);
    if (crons.length > MAX_CRONS) drop(crons.sort(([, a], [, b]) => a.time - b.time)[0][0]);
    return undefined;
  }

  /** The log has grown, perhaps by much. */
  async function grown(nonce) {
    if (view.newest !== undefined && nonce <= view.newest) return;
    const before = view.newest;
    view.newest = nonce;
    heard(nonce);
    if (!view.following || before === undefined) return controls();
    view.last = nonce;
    controls();
    if (nonce - before >= PAGE) return go(nonce);
    const turning = AbortSignal.any([signal, view.turning.signal]);
    try {
      for (const entry of await entriesBetween(before + 1, nonce, turning)) {
        add(entry);
        rows.get(entry.nonce).nodes[0].classList.add("new");
      }
    } catch (error) {
      if (!turning.aborted) console.warn(error);
    }
    trim();
    // The compute unit tells results by itself; it is asked for what it has not told after a while.
    const late = setTimeout(() => ask([...rows.keys()].filter((key) => typeof key === "number"), turning), PATIENCE_MS);
    signal.addEventListener("abort", () => clearTimeout(late));
  }

  function trim() {
    for (const [key, row] of rows) if (row.nonce < lowest()) drop(key);
  }

  function drop(key) {
    rows.get(key).nodes.forEach((node) => node.remove());
    rows.delete(key);
  }

  async function look() {
    const entry = await scheduler.newest(process, { signal });
    await grown(entry?.nonce ?? 0);
  }

  const form = h(
    "form.inline",
    {
      onsubmit: (event) => {
        event.preventDefault();
        const wanted = Number(jump.value);
        if (jump.value === "" || !Number.isSafeInteger(wanted)) return;
        const target = Math.max(0, Math.min(wanted, view.newest));
        go(target + Math.floor(PAGE / 2), target);
      },
    },
    jump,
    h("button.quiet", { type: "submit" }, "Go"),
  );

  (async () => {
    const home = await scheduler.home(process);
    const entry = await scheduler.newest(process, { signal });
    view.newest = entry?.nonce ?? 0;
    heard(view.newest);
    const target = slot === null || slot === "" ? NaN : Number(slot);
    const wanted = Number.isSafeInteger(target) && target >= 0;
    const begun = wanted ? go(target + Math.floor(PAGE / 2), Math.min(target, view.newest)) : go(view.newest);
    // Several entries may come within one turn of the screen: they are read together.
    let pending = false;
    follow(() => scheduler.events(home.url, process), {
      events: {
        scheduled: ({ nonce }) => {
          view.told = Math.max(view.told ?? 0, nonce);
          if (pending) return;
          pending = true;
          setTimeout(() => {
            pending = false;
            grown(view.told);
          }, 60);
        },
        missed: look,
      },
      state: mark.say,
      poll: look,
      gap: look,
      signal,
    });
    if (network.cu) {
      follow(() => compute.events(process, view.cursor), {
        events: {
          ready: ({ cursor }) => (view.cursor = cursor ?? view.cursor),
          result: (told) => {
            view.cursor = told.cursor;
            show({ result: { ...told.result, unchecked: told.unchecked === true }, at: { timestamp: told.timestamp, ordinate: told.nonce, cron: told.cron } });
          },
        },
        signal,
      });
    }
    await begun;
  })().catch((error) => signal.aborted || fill(place, failure(error)));

  // A time that is far from what was said on other pages is confusing: names of senders come late but once.
  every(
    3_000,
    async () => {
      const senders = [...rows.values()].flatMap((row) => (row.sender && gateway.nameOf(row.sender) === undefined ? [row.sender] : []));
      if (senders.length > 0) await gateway.namesOf(senders, { signal });
      for (const row of rows.values()) row.name?.();
    },
    signal,
  );

  return h(
    "section.card",
    h("div.bar.pager", h("div.group", first, older, newer, last), range, h("div.grow"), fresh, form),
    place,
  );
}

function messageRow(process, entry, signal) {
  const { message } = entry;
  const tags = message?.tags ?? [];
  const spawned = entry.nonce === 0 && entry.id === process;
  const detail = h("tr.detail", { hidden: true });
  const result = h("td.result", h("span.faint", "…"));
  const from = h("td", message ? senderView(message, process, { signal, known: (its) => (row.sender = its) }) : h("span.faint", "assigned"));
  const open = h("button.open", { type: "button", "aria-expanded": "false", "aria-label": `Details of slot ${entry.nonce}`, onclick: () => turn() });
  open.append(chevron());
  const action = spawned ? "spawned" : tagOf(tags, "Action");
  const node = h(
    "tr",
    {
      "data-nonce": entry.nonce,
      "data-time": entry.time,
      "data-message": entry.id,
      onclick: (event) => {
        if (!event.target.closest("a, button") && getSelection().isCollapsed) turn();
      },
    },
    h("td", open),
    h("td.number", h("a", { href: messagePage(entry.id, process) }, count(entry.nonce))),
    h("td", when(entry.time)),
    h("td", action === undefined ? h("span.faint", message ? "none" : "–") : h("span.action", { title: action }, action === "" ? "(empty)" : shortAction(action))),
    from,
    result,
  );
  let told;

  function turn(opened = detail.hidden) {
    detail.hidden = !opened;
    open.setAttribute("aria-expanded", String(opened));
    node.classList.toggle("opened", opened);
    if (opened) {
      fill(
        detail,
        h(
          "td",
          { colspan: 6 },
          h(
            "div.details",
            h("p.row", h("a.button", { href: messagePage(entry.id, process) }, "Open the message"), h("span.faint", "message "), id(entry.id), message?.target && message.target !== process && h("span", h("span.faint", "to "), id(message.target))),
            h("div.columns", h("div", h("h3", "Tags"), tagTable(tags)), h("div", h("h3", "Data"), dataView(message?.data ?? "", { tags }))),
            h("h3", "Result"),
            told ? resultView(told, { process }) : h("p.faint", "Not evaluated yet."),
          ),
        ),
      );
    }
  }

  const row = {
    entry,
    nonce: entry.nonce,
    nodes: [node, detail],
    /** The process it is from, once that is known. */
    sender: "",
    get result() {
      return told;
    },
    show: (found) => {
      if (told) return;
      told = found;
      fill(result, outcome(found));
      if (errorText(found.Error)) node.classList.add("failed-row");
      if (!detail.hidden) turn(true);
    },
    failed: (error) => {
      if (!told) fill(result, h("span.outcome", h("span.chip.warn", "no result"), h("span.said", { title: error.message }, error.message)));
    },
    without: () => fill(result, h("span.faint", "no compute unit is known")),
    point: () => {
      turn(true);
      node.scrollIntoView({ block: "center" });
      node.classList.add("pointed");
      open.focus({ preventScroll: true });
    },
    name: () => {
      const known = row.sender && gateway.nameOf(row.sender);
      if (!known || row.named) return;
      row.named = true;
      fill(from, id(row.sender, { href: processPage(row.sender), label: known, copies: false }));
    },
  };
  return row;
}

const shortAction = (action) => (action.length > 40 ? `${action.slice(0, 40)}…` : action);

function chevron() {
  return h("span.chevron", { "aria-hidden": "true" }, "›");
}

function cronRow(at, result) {
  const detail = h("tr.detail", { hidden: true });
  const open = h("button.open", {
    type: "button",
    "aria-expanded": "false",
    "aria-label": "Details of the cron's result",
    onclick: () => {
      detail.hidden = !detail.hidden;
      open.setAttribute("aria-expanded", String(!detail.hidden));
      if (!detail.hidden) fill(detail, h("td", { colspan: 6 }, h("div.details", resultView(result, {}))));
    },
  });
  open.append(chevron());
  const node = h(
    "tr.cron",
    { "data-nonce": at.ordinate, "data-time": at.timestamp },
    h("td", open),
    h("td", h("span.chip", "cron")),
    h("td", when(at.timestamp)),
    h("td", h("span.faint", at.cron)),
    h("td", h("span.faint", "the process itself")),
    h("td.result", outcome(result)),
  );
  return { nonce: at.ordinate, time: at.timestamp, nodes: [node, detail] };
}
