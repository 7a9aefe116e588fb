// One message: what it says, where it stands in the log, what came of it, and the tree of pushes it belongs to.

import { fill, h } from "../dom.js";
import { UnitError, network } from "../network.js";
import { count, empty, fact, failure, id, isId, load, processPage, tagOf, tagTable, waiting, when } from "../show.js";
import { MAX_NODES, collect } from "../pushes.js";
import { senderView } from "../sender.js";
import { treePicture } from "../tree.js";
import * as compute from "../units/compute.js";
import * as gateway from "../units/gateway.js";
import * as scheduler from "../units/scheduler.js";
import { dataView } from "./data.js";
import { resultView } from "./result.js";

/** Pauses before the tree is looked at again while something in it is not done, in milliseconds. */
const LOOKS_MS = [1_000, 1_000, 2_000, 3_000, 5_000, 8_000, 10_000, 15_000, 30_000];

/** The page of a message. */
export function message({ arguments: [its], query, signal, title }) {
  title("Message");
  if (!isId(its)) return h("div.page", empty("This is not the id of a message.", "Ids have 43 letters, digits, - and _."));
  const page = h("div.page", waiting(4));
  const given = query.get("process");
  find(its, isId(given) ? given : "", signal).then(
    (found) => {
      if (signal.aborted) return;
      title(tagOf(found.tags, "Action") || "Message");
      fill(page, parts(found, signal));
    },
    (error) => {
      if (signal.aborted) return;
      const unknown = error instanceof UnitError && error.status === 404;
      fill(
        page,
        unknown
          ? empty("This message is not known here.", "It may not be settled yet, then it is found from its process. Or it was sent in another network: change the units at the top right.")
          : failure(error),
      );
    },
  );
  return page;
}

/** The message with its entry in a log, from the scheduler where possible, else from the gateway. */
async function find(its, given, signal) {
  let process = given;
  let item;
  if (process === "") {
    item = await gateway.find(its, { signal });
    if (!item) throw new UnitError("Gateway", "", "unknown", { status: 404 });
    process = tagOf(item.tags, "Type") === "Process" ? its : item.target;
  }
  if (process !== "") {
    try {
      const entry = await scheduler.find(process, its, { signal });
      // An assigned message is only named by the log.
      const own = entry.message ?? item ?? (await gateway.find(entry.id, { signal }));
      if (own) return { ...own, id: entry.id, process, entry };
      return { id: entry.id, process, entry, tags: [], owner: "", target: "", anchor: "" };
    } catch (error) {
      if (signal.aborted) throw error;
      item ??= await gateway.find(its, { signal });
      if (!item) throw error;
    }
  }
  return { ...item, process: "", entry: undefined };
}

function parts(found, signal) {
  const { entry, process } = found;
  const action = tagOf(found.tags, "Action");
  const type = tagOf(found.tags, "Type");
  const root = tagOf(found.tags, "Pushed-For") ?? found.id;
  const to = process || found.target;
  return [
    h(
      "div.heading",
      h("div.titles", h("h1", action || (type === "Message" ? "Message" : type) || "Message"), h("div.row", id(found.id, { whole: true }))),
      h("div.actions", process && h("a.button.quiet", { href: `${processPage(process)}?slot=${entry.nonce}` }, `Slot ${count(entry.nonce)} in the log`), process && h("a.button", { href: `#/send?process=${process}&like=${encodeURIComponent(action ?? "")}` }, "Send another")),
    ),
    h(
      "section.card.facts-card",
      h(
        "dl.facts",
        fact(process ? "To process" : "To", to ? named(to, Boolean(process), signal) : h("span.faint", "nobody")),
        fact("From", senderView(found, process, { signal, copies: true })),
        entry && fact("Slot", h("b", count(entry.nonce)), h("span.faint", ` · block ${count(entry.height)}`)),
        fact("Time", when(entry ? entry.time : found.time)),
        entry && fact("Assignment", id(entry.assignment.id)),
        tagOf(found.tags, "From-Process") && fact("Signed by", id(found.owner)),
        found.anchor && fact("Anchor", h("code", found.anchor)),
        fact("Settled", settlement(found, signal)),
      ),
    ),
    process ? section("Tree of pushes", tree({ ...found, root }, signal)) : null,
    h(
      "div.columns",
      h("section.card", h("h2", "Tags"), tagTable(found.tags)),
      h("div.stack", h("section.card", h("h2", "Data"), data(found, signal)), process ? h("section.card", h("h2", "Result"), result(found, signal)) : null),
    ),
  ];
}

const section = (title, node) => h("section.card", h("h2", title), node);

/** A process by its name once that is known. */
function named(text, isProcess, signal) {
  const place = h("span", id(text, { href: isProcess ? processPage(text) : undefined }));
  if (isProcess) {
    gateway.namesOf([text], { signal }).then(
      () => {
        const name = gateway.nameOf(text);
        if (name) fill(place, id(text, { href: processPage(text), label: name }), h("code.faint", ` ${text.slice(0, 6)}…`));
      },
      () => {},
    );
  }
  return place;
}

function settlement(found, signal) {
  const place = h("span", h("span.faint", "…"));
  (async () => {
    const item = await gateway.find(found.id, { signal });
    if (!item) fill(place, h("span.faint", "not on Arweave yet"));
    else if (!item.height) fill(place, h("span.faint", "uploaded, in no block yet"));
    else fill(place, "in block ", count(item.height));
  })().catch(() => fill(place, h("span.faint", "the gateway does not tell")));
  return place;
}

function data(found, signal) {
  if (typeof found.data === "string") return dataView(found.data, { tags: found.tags });
  const place = h("div");
  load(place, signal, () => gateway.data(found.id, { signal }), (read) => dataView(read.data, { tags: found.tags, whole: !read.more }));
  return place;
}

function result({ process, id: its }, signal) {
  const place = h("div");
  if (!network.cu) return empty("No compute unit is known.", "Name one in the settings at the top right.");
  load(place, signal, () => compute.result(process, its, { signal }), (told) => resultView(told));
  return place;
}

function tree(found, signal) {
  const place = h("div.tree-place", { tabindex: "0", role: "region", "aria-label": "Tree of pushes" }, waiting(2));
  const note = h("p.faint", { role: "status" });
  let turn = 0;
  const show = (grown) => {
    if (signal.aborted) return;
    const focused = document.activeElement?.closest?.(".tree a")?.getAttribute("href");
    fill(place, treePicture(grown, found.id));
    if (focused) [...place.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused)?.focus();
    const lonely = grown.nodes.length === 1 && grown.root.state !== "waiting";
    note.textContent = grown.truncated
      ? `The first ${count(MAX_NODES)} messages.`
      : lonely
        ? "Nothing came out of it."
        : `${count(grown.nodes.length)} message${grown.nodes.length === 1 ? "" : "s"}${grown.open > 0 ? `, ${count(grown.open)} not done yet` : ", all done"}${grown.told ? "" : " · found from results, because the messenger does not tell"}`;
  };
  const look = async () => {
    const root = await rootOf(found, signal);
    const grown = await collect(root, { signal, grown: turn === 0 ? show : undefined });
    if (signal.aborted) return;
    show(grown);
    // Pushes go on while somebody looks; what stays open for long is looked at less and less.
    if ((grown.open > 0 || (turn < 3 && grown.nodes.length === 1)) && turn < LOOKS_MS.length) {
      const timer = setTimeout(() => look().catch(() => {}), LOOKS_MS[turn]);
      signal.addEventListener("abort", () => clearTimeout(timer));
      turn += 1;
    }
  };
  look().catch((error) => signal.aborted || fill(place, failure(error)));
  return h("div", place, note);
}

/** The first message of all, which may be this one. */
async function rootOf(found, signal) {
  if (found.root === found.id) return found;
  const item = await gateway.find(found.root, { signal });
  if (!item) return found;
  return { ...item, process: tagOf(item.tags, "Type") === "Process" ? item.id : item.target };
}
