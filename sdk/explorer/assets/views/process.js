// One process: what it is, how far it is, and under tabs its messages, children, checkpoints and state.

import { fill, h } from "../dom.js";
import { every } from "../live.js";
import { copyButton, count, empty, errorText, fact, failure, id, isId, liveMark, load, processPage, size, tagOf, tagTable, waiting, when } from "../show.js";
import { senderView, trusts } from "../sender.js";
import * as compute from "../units/compute.js";
import * as gateway from "../units/gateway.js";
import * as scheduler from "../units/scheduler.js";
import { dataView } from "./data.js";
import { messages } from "./messages.js";

/** Pause between two looks at parking and settlement, in milliseconds. */
const LOOK_MS = 4_000;

const TABS = {
  messages: "Messages",
  children: "Children",
  checkpoints: "Checkpoints",
  state: "State",
  about: "Spawn",
};

/** The page of a process. */
export function process({ arguments: [its, tab = "messages"], query, signal, title }) {
  title("Process");
  if (!isId(its)) return h("div.page", empty("This is not the id of a process.", "Ids have 43 letters, digits, - and _."));
  const page = h("div.page", waiting(4));
  scheduler.home(its).then(
    (home) => {
      if (signal.aborted) return;
      title(tagOf(home.tags, "Name") || "Process");
      fill(page, parts(its, home, tab in TABS ? tab : "messages", query, signal));
    },
    (error) => signal.aborted || fill(page, failure(error)),
  );
  return page;
}

function parts(its, home, tab, query, signal) {
  const name = tagOf(home.tags, "Name");
  const mark = liveMark();
  mark.hidden = tab !== "messages";
  const banner = h("div");
  const slots = h("span", "…");
  const settled = h("span", "…");
  const panel = h("div.panel", { role: "region", "aria-label": TABS[tab] });
  const progress = { newest: undefined, settled: undefined };

  const tell = () => {
    if (progress.newest !== undefined) fill(slots, count(progress.newest + 1), h("span.faint", progress.newest === 0 ? " the spawn itself" : ` slots, 0 to ${count(progress.newest)}`));
    const { newest, settled: upTo } = progress;
    if (upTo === null) fill(settled, h("span.faint", "nothing yet"));
    else if (upTo && newest !== undefined) {
      const share = Math.min(1, (upTo.nonce + 1) / (newest + 1));
      const whole = upTo.nonce >= newest;
      fill(
        settled,
        whole ? "everything" : `up to slot ${count(upTo.nonce)}`,
        upTo.height ? h("span.faint", ` · block ${count(upTo.height)}`) : "",
        h("span.meter", { role: "img", "aria-label": `${Math.round(share * 100)} % settled` }, h("span", { style: { width: `${share * 100}%` } })),
      );
    }
  };
  const heard = (nonce) => {
    if (progress.newest === undefined || nonce > progress.newest) {
      progress.newest = nonce;
      tell();
    }
  };
  let asked = -1;
  every(
    LOOK_MS,
    async () => {
      compute.parked({ signal }).then(
        (all) => fill(banner, parkedBanner(all.find((held) => held.process === its))),
        () => {},
      );
      if (progress.newest !== undefined && progress.settled?.nonce >= progress.newest && asked === progress.newest) return;
      asked = progress.newest ?? -1;
      const upTo = await gateway.settledUpTo(its, { signal });
      progress.settled = upTo ?? null;
      tell();
    },
    signal,
  );

  const views = {
    messages: () => messages(its, { signal, mark, heard, slot: query.get("slot") }),
    children: () => children(its, home, signal),
    checkpoints: () => checkpoints(its, signal),
    state: () => state(its, signal),
    about: () => about(home),
  };
  panel.append(views[tab]());
  if (tab !== "messages") {
    scheduler.newest(its, { signal }).then(
      (entry) => heard(entry?.nonce ?? 0),
      () => {},
    );
  }

  return [
    h(
      "div.heading",
      h("div.titles", h("h1", name || "Process"), h("div.row", id(its, { whole: true }))),
      h("div.actions", mark, h("a.button", { href: `#/send?process=${its}` }, "Send or dry run")),
    ),
    banner,
    h("section.card.facts-card", facts(home, slots, settled, signal)),
    h(
      "nav.tabs",
      { "aria-label": "Parts of the process" },
      Object.entries(TABS).map(([key, label]) =>
        h("a", { href: `${processPage(its)}${key === "messages" ? "" : `/${key}`}`, "aria-current": key === tab ? "page" : null }, label),
      ),
    ),
    panel,
  ];
}

function facts(home, slots, settled, signal) {
  const tag = (name) => tagOf(home.tags, name);
  const parent = tag("From-Process");
  const cron = home.tags.filter(({ name }) => name === "Cron-Interval").map(({ value }) => value);
  const limits = [
    ["Memory-Limit", "memory"],
    ["Compute-Limit", "compute"],
  ].flatMap(([name, word]) => (tag(name) ? [`${tag(name)} ${word}`] : []));
  return h(
    "dl.facts",
    fact("Log", slots),
    fact("Settled", settled),
    fact("Spawned", home.time ? when(home.time) : "–", home.height ? h("span.faint", ` · block ${count(home.height)}`) : ""),
    fact(parent ? "Spawned by" : "Owner", senderView(home, "", { signal, copies: true })),
    fact("Module", id(tag("Module") ?? "")),
    fact("Scheduler", id(tag("Scheduler") ?? ""), home.url ? h("span.faint", ` ${home.url.replace(/^https?:\/\//, "")}`) : ""),
    fact("Authority", home.tags.some(({ name }) => name === "Authority") ? home.tags.filter(({ name }) => name === "Authority").map(({ value }) => id(value)) : h("span.faint", "none: no messages of other processes are trusted")),
    cron.length > 0 && fact("Wakes", cron.map((interval) => h("span.chip", `every ${interval.replaceAll("-", " ")}`))),
    limits.length > 0 && fact("Limits", limits.join(", ")),
  );
}

function parkedBanner(held) {
  if (!held) return null;
  const where = held.slot === undefined ? "" : held.cron === undefined ? ` before slot ${held.slot}` : ` before a cron after slot ${held.slot}`;
  return h(
    "div.banner",
    { role: "alert" },
    h("b", `Parked${where}`),
    h("span", errorText(held.reason) || "A message needs more than this unit's operator allows."),
    held.until && h("span.faint", `tried ${held.tries === 1 ? "once" : `${held.tries} times`}, and again when somebody asks after ${new Date(held.until).toLocaleTimeString()}`),
  );
}

/** A list out of a filter of the gateway, page by page. */
function pages(filter, { signal, heads, row, nothing, first = 50 }) {
  const place = h("div");
  const body = h("tbody");
  let cursor;
  const more = h("button.quiet", { type: "button", hidden: true, onclick: () => bring() }, "Load more");
  const bring = async () => {
    more.disabled = true;
    const page = await gateway.items({ ...filter, first, after: cursor }, { signal });
    cursor = page.cursor;
    body.append(...page.items.map(row));
    more.hidden = !page.more;
    more.disabled = false;
    return body.children.length > 0;
  };
  load(place, signal, bring, (some) =>
    some ? [h("div.scroll", h("table", h("thead", h("tr", heads.map((name) => h("th", { scope: "col" }, name)))), body)), h("div.foot", more)] : nothing,
  );
  return h("section.card", place);
}

function children(its, home, signal) {
  return pages(
    { tags: { "Data-Protocol": "ao", Type: "Process", "From-Process": its } },
    {
      signal,
      heads: ["Name", "Process", "Module", "Spawned"],
      row: (item) => {
        gateway.remember(item);
        return h(
          "tr",
          h("td", h("a.name", { href: processPage(item.id) }, tagOf(item.tags, "Name") || h("span.faint", "no name")), !trusts(home.tags, item.owner) && h("span.chip.warn", { title: `signed by ${item.owner}, no authority of this process: it may not be its child` }, "claims to be")),
          h("td", id(item.id)),
          h("td", id(tagOf(item.tags, "Module") ?? "")),
          h("td", item.time ? when(item.time) : h("span.faint", "in the next block")),
        );
      },
      nothing: empty("It has spawned no processes.", "Processes that it spawns are listed here once they are on Arweave."),
    },
  );
}

function checkpoints(its, signal) {
  return pages(
    { tags: { "Data-Protocol": "ao", Type: "Checkpoint", Process: its } },
    {
      signal,
      heads: ["Slot", "Time", "Size", "By", "Checkpoint"],
      row: (item) =>
        h(
          "tr",
          h("td.number", tagOf(item.tags, "Nonce") ?? "–"),
          h("td", when(Number(tagOf(item.tags, "Timestamp")))),
          h("td.number", size(item.size)),
          h("td", id(item.owner)),
          h("td", id(item.id)),
        ),
      nothing: empty("No checkpoints are on Arweave.", "Compute units keep their own in local folders, and publish some where their operator wants it."),
    },
  );
}

function state(its, signal) {
  const field = h("input", { type: "number", min: 0, placeholder: "newest", "aria-label": "Slot", inputmode: "numeric" });
  const place = h("div");
  const look = () => {
    const slot = field.value === "" ? undefined : Number(field.value);
    if (slot !== undefined && (!Number.isSafeInteger(slot) || slot < 0)) return fill(place, empty("A slot is a whole number from 0 on."));
    return load(
      place,
      signal,
      () => compute.root(its, slot, { signal }),
      (found) =>
        h(
          "dl.facts",
          fact("Slot", count(found.nonce)),
          fact("State root", id(found.stateRoot, { whole: true })),
          fact("Memory", size(found.memoryBytes)),
          fact("Time", when(found.timestamp)),
          fact("Evaluator", h("code", found.evaluator), copyButton(found.evaluator, "evaluator")),
        ),
    );
  };
  look();
  return h(
    "section.card",
    h(
      "form.bar",
      {
        onsubmit: (event) => {
          event.preventDefault();
          look();
        },
      },
      h("label.inline", "State at slot", field),
      h("button.quiet", { type: "submit" }, "Show"),
    ),
    h("p.faint.hint", "Two compute units that have the same root at a slot have the same state. An older slot is rebuilt from the nearest checkpoint, which may take a while."),
    place,
  );
}

function about(home) {
  return h("div.stack", h("section.card", h("h2", "Tags of the spawn"), tagTable(home.tags)), h("section.card", h("h2", "Data"), dataView(home.data ?? "", { tags: home.tags, item: home.id })));
}

