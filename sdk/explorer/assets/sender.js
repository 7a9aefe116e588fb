// Who a message is from. Who signed it is a fact; a process that it names in `From-Process` is a claim of whoever signed,
// until somebody concerned trusts that signer to say so.

import { fill, h } from "./dom.js";
import { cut, id, isId, processPage, short, tagOf } from "./show.js";
import * as gateway from "./units/gateway.js";
import * as scheduler from "./units/scheduler.js";

/** Whether a process with these tags takes the word of `signer` for which process a message is from. */
export const trusts = (tags, signer) =>
  Boolean(signer) && tags.some(({ name, value }) => name === "Authority" && value.split(",").some((one) => one.trim() === signer));

/**
 * Whether the `From-Process` of an item counts: its signer is an authority of the process that receives it. What no process
 * receives, a spawn or a message to a wallet, is vouched for by the process it names itself.
 */
async function vouched(item, receiver) {
  const judge = receiver && receiver !== item.id ? receiver : tagOf(item.tags, "From-Process");
  if (!isId(judge)) return false;
  // What cannot be checked is a claim.
  const home = await scheduler.home(judge).catch(() => undefined);
  return home !== undefined && trusts(home.tags, item.owner);
}

/** The sender of an item that `receiver` got (`""`: no process did). `known(process)` is told of a sending process. */
export function senderView(item, receiver, { signal, copies = false, known } = {}) {
  const from = tagOf(item.tags, "From-Process");
  if (!from) return h("span.sender", id(item.owner, { copies }));
  const place = h("span.sender", h("span.faint", "…"));
  (async () => {
    const real = isId(from) && (await vouched(item, receiver));
    if (signal?.aborted) return;
    if (!real) {
      fill(place, claim(item.owner, from, copies));
      return;
    }
    known?.(from);
    const show = () => fill(place, id(from, { href: processPage(from), label: gateway.nameOf(from) || undefined, copies }));
    show();
    await gateway.namesOf([from], { signal }).catch(() => {});
    if (!signal?.aborted && place.isConnected && gateway.nameOf(from)) show();
  })();
  return place;
}

function claim(signer, from, copies) {
  const title = "Whoever signed it is no authority of the process: this may not be true.";
  return h("span.claim", h("span.faint", "signed by "), id(signer, { copies }), h("span.warned", { title }, ", claims to come from ", h("code", { title: from }, isId(from) ? short(from) : cut(from, 40))));
}
