// The whole result of a message: what it said, what went wrong, and what it sent.

import { h } from "../dom.js";
import { UNCHECKED, count, errorText, id, isId, outputText, processPage, tagOf, tagTable } from "../show.js";
import { dataView } from "./data.js";

/** Entries of a result that are listed. */
const LISTED = 50;

/** A result in full. */
export function resultView(result) {
  const error = errorText(result.Error);
  const said = outputText(result.Output);
  const lists = [
    ["Messages", result.Messages, outgoing],
    ["Spawns", result.Spawns, outgoing],
    ["Assignments", result.Assignments, assignment],
  ].filter(([, list]) => Array.isArray(list) && list.length > 0);
  return h(
    "div.result-view",
    result.unchecked && h("div.banner", { role: "note" }, h("b", "Unchecked"), h("span", UNCHECKED)),
    error && h("div.banner", { role: "note" }, h("b", "Error"), h("pre", error)),
    said.trim() !== "" ? h("pre.data.output", { tabindex: "0" }, said.slice(0, 64 << 10)) : !error && lists.length === 0 && h("p.faint", "It said nothing and sent nothing."),
    lists.map(([name, list, show]) => h("div", h("h3", `${name} (${count(list.length)})`), h("ol.sent", list.slice(0, LISTED).map((entry) => h("li", show(entry)))), list.length > LISTED && h("p.faint", `and ${count(list.length - LISTED)} more`))),
    result.GasUsed > 0 && h("p.faint", `${count(result.GasUsed)} gas`),
  );
}

function outgoing(entry) {
  const tags = Array.isArray(entry?.Tags) ? entry.Tags.map(({ name, value }) => ({ name: String(name), value: String(value) })) : [];
  const target = typeof entry?.Target === "string" ? entry.Target : "";
  const action = tagOf(tags, "Action");
  return h(
    "details",
    h("summary", h("span.action", action || "no action"), target && h("span.faint", " to "), target && id(target, { href: isId(target) ? processPage(target) : undefined })),
    tagTable(tags),
    entry?.Data !== undefined && entry.Data !== "" && dataView(typeof entry.Data === "string" ? entry.Data : JSON.stringify(entry.Data), { tags }),
  );
}

function assignment(entry) {
  const processes = Array.isArray(entry?.Processes) ? entry.Processes.map(String) : [];
  return h("span", id(String(entry?.Message ?? "")), h("span.faint", " to "), processes.map((its) => id(its, { href: processPage(its) })));
}
