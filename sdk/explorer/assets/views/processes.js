// All processes: search, sort, and how long each log is.

import { fill, h } from "../dom.js";
import { every, follow, Turns } from "../live.js";
import { network } from "../network.js";
import { copyButton, count, empty, failure, id, isId, liveMark, processPage, short, tagOf, waiting, when } from "../show.js";
import { senderView } from "../sender.js";
import * as compute from "../units/compute.js";
import * as gateway from "../units/gateway.js";
import * as scheduler from "../units/scheduler.js";

/** Processes a page brings. */
const PAGE = 50;
/** Pause between two looks for new processes, in milliseconds. */
const LOOK_MS = 4_000;
/** Pause after a key before the gateway is searched, in milliseconds. */
const TYPING_MS = 250;

const SORTS = {
  newest: ["Newest first", (a, b) => (b.height ?? Infinity) - (a.height ?? Infinity)],
  oldest: ["Oldest first", (a, b) => (a.height ?? Infinity) - (b.height ?? Infinity)],
  name: ["Name", (a, b) => Number(a.name === "") - Number(b.name === "") || a.name.localeCompare(b.name)],
  messages: ["Messages", (a, b) => (b.slots ?? -1) - (a.slots ?? -1)],
};

/** The list of processes. */
export function processes({ query, signal, title }) {
  title("Processes");
  const found = new Map();
  const parked = new Map();
  const turns = new Turns(4);
  const state = { search: query.get("search") ?? "", sort: "newest", only: query.get("show") === "parked", cursor: undefined, more: false, begun: false, told: false };

  const field = h("input", { type: "search", value: state.search, placeholder: "Name, id or module", "aria-label": "Search processes", spellcheck: "false" });
  const sort = h("select", { "aria-label": "Sort" }, Object.entries(SORTS).map(([key, [label]]) => h("option", { value: key }, label)));
  const onlyParked = h("input", { type: "checkbox", checked: state.only });
  const said = h("p.faint", { role: "status" });
  const body = h("tbody");
  const table = h(
    "div.scroll",
    h("table.processes", h("thead", h("tr", ["Name", "Process", "Module", "Owner", "Spawned", "Messages"].map((name) => h("th", { scope: "col" }, name)))), body),
  );
  const more = h("button.quiet", { type: "button", onclick: () => bring() }, "Load more");
  const place = h("div", waiting(6));

  const near = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      const process = isIntersecting && found.get(target.dataset.process);
      if (process) length(process);
    }
  });
  signal.addEventListener("abort", () => near.disconnect());

  function length(process) {
    if (process.asked) return;
    process.asked = true;
    turns
      .run(() => scheduler.newest(process.id, { signal }), signal)
      .then(
        (entry) => (process.slots = entry ? entry.nonce : 0),
        () => (process.slots = null),
      )
      .then(() => {
        if (signal.aborted) return;
        tell(process);
        if (state.sort === "messages") show();
      });
  }

  function tell({ cell, slots }) {
    fill(cell, slots === null ? h("span.faint", { title: "its scheduler does not tell" }, "–") : count(slots));
  }

  function take(items) {
    for (const item of items) {
      if (found.has(item.id) || tagOf(item.tags, "Type") !== "Process") continue;
      gateway.remember(item);
      const process = { ...item, name: tagOf(item.tags, "Name") ?? "", module: tagOf(item.tags, "Module") ?? "" };
      process.cell = h("td.number", h("span.faint", "…"));
      process.row = row(process);
      found.set(item.id, process);
    }
  }

  function show() {
    const search = state.search.toLowerCase();
    const fits = ({ id: its, name, module }) =>
      (!state.only || parked.has(its)) && (search === "" || name.toLowerCase().includes(search) || its === state.search || module === state.search);
    const shown = [...found.values()].filter(fits).sort(SORTS[state.sort][1]);
    // Whether there is none, nobody knows before the compute unit has told.
    if (!state.begun || (state.only && !state.told)) return;
    for (const process of shown) {
      const held = parked.get(process.id);
      process.row.toggleAttribute("data-parked", held !== undefined);
      if (held) process.row.querySelector(".parked-mark").title = String(held.reason ?? "the compute unit has stopped evaluating it for now");
      near.observe(process.row);
    }
    if (shown.length === 0) fill(place, nothing(state));
    else {
      body.replaceChildren(...shown.map((process) => process.row));
      if (!table.isConnected) fill(place, table);
    }
    const all = state.more ? `${found.size} loaded, there are more` : `${found.size} in all`;
    said.textContent = shown.length === found.size ? all : `${shown.length} shown, ${all}`;
    more.hidden = !state.more;
  }

  async function bring() {
    more.disabled = true;
    try {
      const page = await gateway.items({ tags: { "Data-Protocol": "ao", Type: "Process" }, first: PAGE, after: state.cursor }, { signal });
      state.cursor = page.cursor ?? state.cursor;
      state.more = page.more;
      state.begun = true;
      take(page.items);
      show();
    } catch (error) {
      if (!signal.aborted) fill(place, failure(error, () => bring()));
    }
    more.disabled = false;
  }

  let typing = 0;
  async function searchAll() {
    const text = state.search;
    if (text === "") return;
    const common = { "Data-Protocol": "ao", Type: "Process" };
    const filters = [{ tags: { ...common, Name: text } }];
    if (isId(text)) filters.push({ ids: [text], tags: common }, { tags: { ...common, Module: text } }, { owners: [text], tags: common });
    const pages = await Promise.allSettled(filters.map((filter) => gateway.items({ ...filter, first: PAGE }, { signal })));
    for (const page of pages) if (page.status === "fulfilled") take(page.value.items);
    show();
  }

  field.addEventListener("input", () => {
    state.search = field.value.trim();
    show();
    clearTimeout(typing);
    typing = setTimeout(searchAll, TYPING_MS);
  });
  sort.addEventListener("change", () => {
    state.sort = sort.value;
    show();
    if (state.sort === "messages") for (const process of found.values()) length(process);
  });
  onlyParked.addEventListener("change", () => {
    state.only = onlyParked.checked;
    show();
  });

  bring().then(() => Promise.all([searchAll(), look().catch((error) => signal.aborted || console.warn(error))]));
  const mark = liveMark();
  if (network.su) {
    follow(() => scheduler.events(network.su), {
      events: {
        scheduled: ({ process: its, nonce }) => {
          const process = found.get(its);
          if (!process || nonce <= process.slots) return;
          process.slots = nonce;
          process.asked = true;
          tell(process);
        },
      },
      state: mark.say,
      signal,
    });
  } else mark.hidden = true;
  async function look() {
    if (!state.begun) return;
    const [fresh, held] = await Promise.allSettled([
      gateway.items({ tags: { "Data-Protocol": "ao", Type: "Process" }, first: 20 }, { signal }),
      compute.parked({ signal }),
    ]);
    const before = found.size;
    const heldBefore = [...parked.keys()].join();
    if (signal.aborted) return;
    const told = held.status === "fulfilled";
    const first = told && !state.told;
    state.told ||= told;
    if (fresh.status === "fulfilled") take(fresh.value.items);
    if (told) {
      parked.clear();
      for (const its of held.value) parked.set(its.process, its);
      const missing = held.value.map((its) => its.process).filter((its) => !found.has(its));
      const asked = missing.length > 0 && gateway.items({ ids: missing.slice(0, gateway.PAGE), first: gateway.PAGE }, { signal });
      // Those that the gateway does not tell now are asked for again at the next look.
      if (asked) take((await asked.catch(() => ({ items: [] }))).items);
    } else if (state.only && !state.told) fill(place, failure(held.reason, look));
    if (first || found.size !== before || heldBefore !== [...parked.keys()].join()) show();
  }
  every(LOOK_MS, look, signal);

  return h(
    "div.page",
    h("div.heading", h("h1", "Processes"), mark),
    h("div.bar", h("div.grow", field), h("label.check", onlyParked, "only parked"), sort),
    h("section.card", place, h("div.foot", said, more)),
  );
}

function row(process) {
  const href = processPage(process.id);
  return h(
    "tr",
    {
      "data-process": process.id,
      onclick: (event) => {
        // The row is a large target for the mouse; the link in it is the way for the keyboard.
        if (!event.target.closest("a, button") && getSelection().isCollapsed) location.hash = href;
      },
    },
    h("td", h("a.name", { href }, process.name || h("span.faint", "no name")), h("span.chip.bad.parked-mark", "parked")),
    h("td", id(process.id)),
    h("td", process.module ? h("span.id", h("code", { title: process.module }, short(process.module)), copyButton(process.module, "module")) : h("span.faint", "none")),
    h("td", senderView(process, "")),
    h("td", process.time ? when(process.time) : h("span.faint", "in the next block")),
    process.cell,
  );
}

function nothing(state) {
  if (state.only) return empty("No process is parked.", "A process is parked when a message needs more than this compute unit's operator allows.");
  if (state.search !== "") {
    const advice = state.more ? "Names are searched in what is loaded, and as a whole at the gateway: load more, or type the whole name." : "Type less of the name, or the whole id.";
    return empty(`Nothing fits "${state.search}".`, advice);
  }
  return empty("There are no processes yet.", "Spawn one: ", h("code", "holon spawn --module <module>"));
}
