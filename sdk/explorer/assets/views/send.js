// Sending: a dry run, which leaves no trace and needs no wallet, or a signed message, whose result is waited for.

import { fill, h } from "../dom.js";
import { MAX_TAGS, sign } from "../item.js";
import { json, network } from "../network.js";
import { count, failure, icons, id, isId, load, messagePage, milliseconds, outputText, processPage, waiting } from "../show.js";
import * as compute from "../units/compute.js";
import * as gateway from "../units/gateway.js";
import * as wallets from "../wallet.js";
import { resultView } from "./result.js";

/** Owner of a dry run when no wallet is open: any text that is not empty. */
const NOBODY = "0000000000000000000000000000000000000000000";

/** The form. */
export function send({ query, signal, title }) {
  title("Send");
  const process = h("input", { name: "process", value: query.get("process") ?? "", placeholder: "43 letters, digits, - and _", spellcheck: "false", autocomplete: "off", list: "processes", required: true });
  const known = h("datalist", { id: "processes" });
  const action = h("input", { name: "action", value: query.get("like") ?? "", placeholder: "Increment, Balance, Eval, …", spellcheck: "false", autocomplete: "off" });
  const data = h("textarea", { name: "data", rows: 5, placeholder: "nothing", spellcheck: "false" });
  const tags = h("div.tag-fields");
  const answer = h("div.answer");
  const said = h("p.said", { role: "alert" });
  const dry = h("button.quiet", { type: "button", onclick: () => go(dryRun) }, "Dry run");
  const real = h("button.primary", { type: "submit" }, "Sign and send");
  const keys = walletPanel(() => {});

  gateway.items({ tags: { "Data-Protocol": "ao", Type: "Process" }, first: 50 }, { signal }).then(
    ({ items }) => {
      for (const item of items) {
        gateway.remember(item);
        known.append(h("option", { value: item.id }, gateway.nameOf(item.id) || "no name"));
      }
    },
    () => {},
  );

  function addTag(name = "", value = "") {
    if (tags.children.length >= MAX_TAGS - 8) return;
    const field = h("input", { placeholder: "name", "aria-label": "Name of the tag", value: name, spellcheck: "false" });
    const row = h(
      "div.tag-row",
      field,
      h("input", { placeholder: "value", "aria-label": "Value of the tag", value, spellcheck: "false" }),
      h("button.icon-button", { type: "button", title: "Remove the tag", "aria-label": "Remove the tag", onclick: () => row.remove() }, icons.cross()),
    );
    tags.append(row);
    field.focus();
  }

  /** What is in the form; `undefined` when something has to be said about it first. */
  function typed() {
    const to = process.value.trim();
    said.textContent = "";
    process.removeAttribute("aria-invalid");
    if (!isId(to)) {
      said.textContent = to === "" ? "Which process? Its id goes into the first field." : "The id of a process has 43 letters, digits, - and _.";
      process.setAttribute("aria-invalid", "true");
      process.focus();
      return undefined;
    }
    const own = [...tags.children].flatMap((row) => {
      const [name, value] = [...row.querySelectorAll("input")].map((input) => input.value);
      return name.trim() === "" ? [] : [{ name: name.trim(), value }];
    });
    if (action.value.trim() !== "") own.unshift({ name: "Action", value: action.value.trim() });
    return { to, tags: own, data: data.value };
  }

  async function go(work) {
    const form = typed();
    if (!form) return;
    dry.disabled = real.disabled = true;
    fill(answer, h("section.card", waiting(2)));
    try {
      await work(form);
    } catch (error) {
      if (!signal.aborted) fill(answer, failure(error));
    }
    dry.disabled = real.disabled = false;
  }

  const ao = (form) => [...form.tags, { name: "Data-Protocol", value: "ao" }, { name: "Variant", value: "ao.TN.1" }, { name: "Type", value: "Message" }];

  async function dryRun(form) {
    const owner = wallets.wallet()?.address ?? NOBODY;
    const begun = performance.now();
    const result = await compute.dryRun(form.to, { Id: "dry-run", Owner: owner, Target: form.to, Tags: ao(form), Data: form.data, Anchor: "0" }, { signal });
    const took = performance.now() - begun;
    if (signal.aborted) return;
    fill(answer, h("section.card", h("div.head", h("h2", "Answer of the dry run"), h("span.faint", `in ${milliseconds(took)}, nothing was changed`)), resultView(result)));
  }

  async function signed(form) {
    const wallet = wallets.wallet();
    if (!wallet) {
      fill(answer);
      said.textContent = "A message needs a signature: make a key or open a wallet first. A dry run needs none.";
      keys.focus();
      return;
    }
    const anchor = anchorText();
    const own = form.data === "" ? [{ name: "Content-Type", value: "text/plain" }] : [];
    const item = await sign(wallet.signer, {
      target: form.to,
      anchor,
      tags: [...own, { name: "SDK", value: "holon-explorer" }, ...ao(form)],
      data: form.data === "" ? " " : form.data,
    });
    const begun = performance.now();
    await json("mu", "/", { signal, method: "POST", headers: { "content-type": "application/octet-stream" }, body: item.bytes });
    const taken = performance.now() - begun;
    if (signal.aborted) return;
    const place = h("div");
    fill(
      answer,
      h(
        "section.card",
        h("div.head", h("h2", "Sent"), h("span.faint", `the messenger has it, in ${milliseconds(taken)}`)),
        h("p.row", h("span.faint", "message "), id(item.id, { href: messagePage(item.id, form.to), whole: true })),
        place,
        h("p", h("a.button", { href: messagePage(item.id, form.to) }, "Follow what comes of it")),
      ),
    );
    await load(place, signal, () => compute.result(form.to, item.id, { signal }), (result) => resultView(result));
  }

  const node = h(
    "div.page.send",
    h("h1", "Send a message"),
    h(
      "div.columns.wide-left",
      h(
        "form.card.stack",
        {
          novalidate: true,
          onsubmit: (event) => {
            event.preventDefault();
            go(signed);
          },
        },
        h("label.field", h("span", "Process"), process),
        known,
        h("label.field", h("span", "Action"), action),
        h("div.field", h("span.row", "Tags", h("button.icon-button", { type: "button", title: "Add a tag", "aria-label": "Add a tag", onclick: () => addTag() }, icons.plus())), tags),
        h("label.field", h("span", "Data"), data),
        said,
        h("div.actions", dry, real),
      ),
      keys,
    ),
    answer,
  );
  for (const [name, value] of query) if (name.startsWith("tag.")) addTag(name.slice(4), value);
  wallets.restore().then(() => keys.show());
  return node;
}

/** 32 letters of chance, so that a message sent twice is two messages. */
function anchorText() {
  const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  const chance = crypto.getRandomValues(new Uint8Array(32));
  return Uint8Array.from(chance, (byte) => letters.charCodeAt(byte % 64));
}

function walletPanel() {
  const place = h("div.stack");
  const said = h("p.said", { role: "alert" });
  const file = h("input.offscreen", { type: "file", accept: ".json,application/json", tabindex: "-1", "aria-label": "Wallet file" });
  const panel = h("aside.card.wallet", { "aria-label": "Wallet" }, h("h2", "Signed by"), place, said);
  file.addEventListener("change", () => file.files[0] && open(file.files[0]));
  panel.addEventListener("dragover", (event) => {
    event.preventDefault();
    panel.classList.add("over");
  });
  panel.addEventListener("dragleave", () => panel.classList.remove("over"));
  panel.addEventListener("drop", (event) => {
    event.preventDefault();
    panel.classList.remove("over");
    if (event.dataTransfer.files[0]) open(event.dataTransfer.files[0]);
  });

  async function attempt(work) {
    said.textContent = "";
    try {
      await work();
    } catch (error) {
      said.textContent = error.message;
    }
    panel.show();
  }
  const open = (chosen) => attempt(() => wallets.open(chosen));

  panel.show = () => {
    if (!wallets.available()) {
      fill(place, h("p", "Browsers let a page sign only when it comes from this machine (", h("code", "http://127.0.0.1"), ") or over HTTPS. Dry runs work anyway."));
      return;
    }
    const wallet = wallets.wallet();
    if (wallet) {
      fill(
        place,
        h("p.row", h("span.dot", { "data-state": "up" }), h("b", wallet.name)),
        h("p.row", id(wallet.address)),
        h("p.faint", "A message costs nothing on a local network. Keep a wallet that holds something out of pages you do not run yourself."),
        h("div.actions", h("button.quiet", { type: "button", onclick: () => { wallets.close(); panel.show(); } }, "Use another")),
      );
      return;
    }
    fill(
      place,
      h("button.primary", { type: "button", onclick: () => attempt(wallets.create) }, "Use a key of this browser"),
      h("p.faint", "Made once and kept here; nobody can take it out, this page included."),
      h("button.quiet", { type: "button", onclick: () => file.click() }, "Open a wallet file"),
      file,
      h("p.faint", "A JWK of Arweave or Ed25519. Drop it here or choose it; it is forgotten when the page closes."),
    );
  };
  panel.focus = () => place.querySelector("button")?.focus();
  panel.show();
  return panel;
}
