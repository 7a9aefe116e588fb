// The network at a glance: its units, what they do right now, and the newest entries of all logs.

import { fill, h } from "../dom.js";
import { every, follow, Turns } from "../live.js";
import { UNITS, metrics, network, total } from "../network.js";
import { copyButton, count, empty, id, liveMark, messagePage, milliseconds, processPage, section, size, tagOf, when } from "../show.js";
import { senderView } from "../sender.js";
import { Minute, sparkline } from "../spark.js";
import * as compute from "../units/compute.js";
import * as gateway from "../units/gateway.js";
import * as scheduler from "../units/scheduler.js";

/** Pause between two looks at the units, in milliseconds. */
const LOOK_MS = 2_000;
/** Entries of the list. */
const SHOWN = 30;
/** Entries a second above which their actions are not asked for: the list is a blur then. */
const BUSY = 12;

/** Paths that answer cheaply. */
const PINGS = { gateway: "/info", mu: "/health", su: "/timestamp", cu: "/health" };
/** What else each unit says about itself. */
const WALLETS = { mu: "authority", su: "scheduler", cu: "compute" };

/** The overview. */
export function overview({ signal, title }) {
  title("Overview");
  const cards = Object.fromEntries(Object.keys(UNITS).map((unit) => [unit, unitCard(unit)]));
  const tiles = {
    messages: tile("Messages a second", { spark: true }),
    evaluations: tile("Evaluations a second", { spark: true }),
    live: tile("Live processes"),
    outbox: tile("Outbox"),
    parked: tile("Parked"),
    height: tile("Block height"),
  };
  const mark = liveMark();
  const list = newestEntries(signal, mark, tiles.messages);

  every(LOOK_MS, () => Promise.all(Object.values(cards).map((card) => card.look(signal))), signal);
  evaluations(tiles, signal);
  every(LOOK_MS, () => messenger(tiles, signal), signal);
  every(LOOK_MS, () => height(tiles, signal), signal);

  return h(
    "div.page.overview",
    h("h1.offscreen", "Overview"),
    h("div.units", Object.values(cards).map(({ node }) => node)),
    h("div.tiles", Object.values(tiles).map(({ node }) => node)),
    section(null, h("div.head", h("h2", "Newest entries"), mark), list),
  );
}

function unitCard(unit) {
  const dot = h("span.dot", { "data-state": "waiting" });
  const latency = h("span.latency", "…");
  const url = network[unit];
  const wallet = network[WALLETS[unit]];
  const node = h(
    "article.unit",
    { "data-unit": unit },
    h("div.row", dot, h("h2", UNITS[unit]), latency),
    url ? h("div.row.address", h("code", { title: url }, url.replace(/^https?:\/\//, "")), copyButton(url, "address")) : h("p.faint", "not known here"),
    wallet ? h("div.row.address", h("span.faint", "wallet"), id(wallet)) : h("div.row.address", h("span.faint", unit === "gateway" ? "reads and uploads" : " ")),
  );
  return {
    node,
    look: async (signal) => {
      if (!url) return;
      try {
        const took = await compute.ping(unit, PINGS[unit], { signal });
        dot.dataset.state = "up";
        latency.textContent = milliseconds(took);
        latency.title = "time of one request from this page";
        node.removeAttribute("data-down");
      } catch {
        if (signal.aborted) return;
        dot.dataset.state = "down";
        latency.textContent = "down";
        node.setAttribute("data-down", "");
      }
    },
  };
}

function tile(label, { spark = false } = {}) {
  const value = h("p.value", "–");
  const note = h("p.note", " ");
  const picture = spark ? sparkline(`${label}, the last minute`) : null;
  const node = h("article.tile", { "data-tile": label }, h("h2", label), value, note, picture);
  return {
    node,
    picture,
    show: (text, words = " ") => {
      if (value.textContent !== text) value.textContent = text;
      if (words instanceof Node) fill(note, words);
      else if (note.textContent !== words) note.textContent = words;
    },
  };
}

/** A rate in a second as people read it. */
const rate = (value) => (value === 0 ? "0" : value < 10 ? value.toFixed(1) : count(Math.round(value)));

function evaluations(tiles, signal) {
  const minute = new Minute();
  let last;
  every(
    1_000,
    async () => {
      let series;
      try {
        series = await metrics("cu", { signal });
      } catch {
        for (const name of ["evaluations", "live", "parked"]) tiles[name].show("–", "the compute unit does not tell");
        last = undefined;
        return;
      }
      const now = performance.now();
      const all = total(series, "ao_cu_ao_process_total_evaluations_total");
      if (all !== undefined) {
        if (last) {
          const perSecond = Math.max(0, all - last.all) / ((now - last.now) / 1000);
          minute.push(perSecond);
          tiles.evaluations.picture.redraw(minute);
          tiles.evaluations.show(rate(minute.mean(3)), `${count(all)} since the unit started`);
        }
        last = { all, now };
      }
      const live = total(series, "ao_cu_live_processes");
      const memory = total(series, "ao_cu_live_memory_bytes");
      if (live !== undefined) tiles.live.show(count(live), memory === undefined ? " " : `${size(memory)} of memory`);
      const parked = total(series, "ao_cu_parked_processes");
      if (parked !== undefined) {
        tiles.parked.show(count(parked), parked > 0 ? h("a", { href: "#/processes?show=parked" }, "see which and why") : "no process is held up");
        tiles.parked.node.classList.toggle("warn", parked > 0);
      }
    },
    signal,
  );
}

async function messenger(tiles, signal) {
  try {
    const series = await metrics("mu", { signal });
    const queued = total(series, "ao_mu_queue_size");
    const monitored = total(series, "ao_mu_running_cron_monitor");
    const words = queued > 0 ? "tasks left to do" : "everything is pushed";
    tiles.outbox.show(count(queued), monitored > 0 ? `${words}, ${monitored} monitored` : words);
  } catch {
    tiles.outbox.show("–", "the messenger does not tell");
  }
}

async function height(tiles, signal) {
  try {
    const { height: now } = await gateway.info({ signal });
    tiles.height.show(count(now), "at the gateway");
  } catch {
    tiles.height.show("–", "the gateway does not tell");
  }
}

function newestEntries(signal, mark, rateTile) {
  const body = h("tbody");
  const table = h(
    "div.scroll",
    h("table.entries", h("thead", h("tr", ["When", "Process", "Slot", "Action", "From", "Message"].map((name) => h("th", { scope: "col" }, name)))), body),
  );
  const nothing = empty("No messages yet.", "Send one from the ", h("a", { href: "#/send" }, "send page"), " or with ", h("code", "holon send counter --action Increment"), ". It shows up here at once.");
  const place = h("div", nothing);
  const seen = new Set();
  const turns = new Turns(3);
  const minute = new Minute();
  let thisSecond = 0;

  const add = (entry) => {
    if (seen.has(entry.assignment)) return;
    seen.add(entry.assignment);
    if (seen.size > 4 * SHOWN) seen.delete(seen.values().next().value);
    if (!table.isConnected) fill(place, table);
    const row = entryRow(entry);
    // They come in order of their times but for what was there before.
    const after = [...body.children].find((other) => Number(other.dataset.time) <= entry.timestamp);
    body.insertBefore(row.node, after ?? null);
    while (body.children.length > SHOWN) body.lastElementChild.remove();
    if (row.node.isConnected && thisSecond < BUSY) turns.run(() => row.complete(signal), signal).catch(() => {});
  };

  const recent = async () => {
    const { items } = await gateway.items({ tags: { Type: "Assignment" }, first: SHOWN }, { signal });
    for (const item of items.reverse()) {
      const tag = (name) => tagOf(item.tags, name);
      const process = tag("Process");
      add({ process, message: tag("Message") ?? process, assignment: item.id, nonce: Number(tag("Nonce")), timestamp: Number(tag("Timestamp")) });
    }
  };

  if (network.su) {
    follow(() => scheduler.events(network.su), {
      events: {
        scheduled: (entry) => {
          thisSecond += 1;
          add(entry);
          body.firstElementChild?.classList.add("new");
        },
        missed: ({ events }) => {
          thisSecond += events;
        },
      },
      state: (word) => {
        mark.say(word);
        if (word === "polling") rateTile.show("–", "the scheduler has no events to count");
      },
      poll: recent,
      signal,
    });
  } else {
    mark.say("polling");
    every(3_000, recent, signal);
  }
  recent().catch(() => {});
  every(
    1_000,
    () => {
      minute.push(thisSecond);
      thisSecond = 0;
      rateTile.picture.redraw(minute);
      if (mark.dataset.state === "live") rateTile.show(rate(minute.mean(3)), minute.top > 0 ? `at most ${count(minute.top)} in this minute` : "quiet for a minute");
    },
    signal,
  );
  return place;
}

function entryRow(entry) {
  const { process, message, nonce, timestamp } = entry;
  const name = h("td", id(process, { href: processPage(process), label: gateway.nameOf(process) || undefined }));
  const action = h("td", h("span.faint", "…"));
  const from = h("td", h("span.faint", "…"));
  const node = h(
    "tr",
    { "data-time": timestamp, "data-message": message },
    h("td", when(timestamp)),
    name,
    h("td.number", count(nonce)),
    action,
    from,
    h("td", id(message, { href: message === process ? processPage(process) : messagePage(message, process) })),
  );
  return {
    node,
    complete: async (signal) => {
      if (!node.isConnected) return;
      const names = gateway.namesOf([process], { signal }).catch(() => {});
      const spawn = message === process;
      const reading = spawn ? scheduler.home(process).then((home) => ({ message: home })) : scheduler.find(process, message, { signal });
      const told = await reading.catch(() => undefined);
      await names;
      const known = gateway.nameOf(process);
      if (known) fill(name, id(process, { href: processPage(process), label: known }));
      const its = told?.message;
      const said = spawn ? "spawned" : its && tagOf(its.tags, "Action");
      fill(action, said ? h("span.action", { title: said }, said) : h("span.faint", told ? (its ? "none" : "assigned") : "–"));
      fill(from, its ? senderView(its, process, { signal }) : h("span.faint", "–"));
    },
  };
}
