// The data of an item: as text, as JSON, or as bytes, never more of it than a page can carry.

import { fill, h } from "../dom.js";
import { size, tagOf } from "../show.js";

/** Characters shown before somebody asks for all. */
const FIRST = 4_000;
/** Most that is ever shown of one item, in characters or bytes. */
const MOST = 256 << 10;
/** Bytes of a line of hex. */
const LINE = 16;

/** A view of `data`, text or bytes, that suits it. */
export function dataView(data, { tags = [], whole = true } = {}) {
  const bytes = data instanceof Uint8Array ? data : new TextEncoder().encode(typeof data === "string" ? data : JSON.stringify(data) ?? "");
  if (bytes.length === 0) return h("p.faint", "No data.");
  const text = asText(bytes);
  if (text !== undefined && text.trim() === "") return h("p.faint", "Nothing but blanks.");
  const forms = {};
  const pretty = text === undefined ? undefined : asJson(text);
  if (pretty !== undefined) forms.JSON = () => pretty;
  if (text !== undefined) forms.Text = () => text;
  forms.Hex = () => hex(bytes);
  const type = tagOf(tags, "Content-Type");

  const place = h("pre.data", { tabindex: "0" });
  const buttons = Object.keys(forms).map((name) =>
    h("button", { type: "button", onclick: () => choose(name), "aria-pressed": "false" }, name),
  );
  const all = h("button.quiet", { type: "button", hidden: true }, "Show all");
  function choose(name) {
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.textContent === name));
    const said = forms[name]();
    const long = said.length > FIRST;
    fill(place, long ? `${said.slice(0, FIRST)}…` : said);
    all.hidden = !long;
    all.onclick = () => {
      fill(place, said.length > MOST ? `${said.slice(0, MOST)}…` : said);
      all.hidden = true;
    };
  }
  choose(Object.keys(forms)[0]);
  const note = [size(bytes.length), type, whole ? "" : "only its beginning was read"].filter(Boolean).join(" · ");
  return h("div.data-view", h("div.bar", h("div.segments", { role: "group", "aria-label": "Form" }, buttons), h("span.faint", note)), place, all);
}

function asText(bytes) {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    // eslint-disable-next-line no-control-regex
    return /[\u0000-\u0008\u000e-\u001a\u001c-\u001f]/.test(text) ? undefined : text;
  } catch {
    return undefined;
  }
}

function asJson(text) {
  if (!/^\s*[[{]/.test(text) || text.length > MOST) return undefined;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return undefined;
  }
}

function hex(bytes) {
  const lines = [];
  for (let at = 0; at < Math.min(bytes.length, MOST / 4); at += LINE) {
    const part = bytes.subarray(at, at + LINE);
    const digits = Array.from(part, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const letters = Array.from(part, (byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "·")).join("");
    lines.push(`${at.toString(16).padStart(6, "0")}  ${digits.padEnd(LINE * 3 - 1)}  ${letters}`);
  }
  return lines.join("\n");
}
