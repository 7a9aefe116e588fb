// An id of something: finds out what it is and goes there.

import { h } from "../dom.js";
import { UnitError } from "../network.js";
import { empty, failure, isId, messagePage, processPage, tagOf, waiting } from "../show.js";
import { fill } from "../dom.js";
import * as gateway from "../units/gateway.js";
import * as scheduler from "../units/scheduler.js";

/** A page that turns into the page of what the id names. */
export function openId({ arguments: [text], signal, title }) {
  title("Find");
  const page = h("div.page", waiting());
  if (!isId(text)) return h("div.page", empty("This is not an id.", "Ids have 43 letters, digits, - and _."));
  identify(text, signal).then(
    (address) => {
      if (!signal.aborted) location.replace(address);
    },
    (error) => {
      if (signal.aborted) return;
      const unknown = error instanceof UnitError && error.status === 404;
      fill(
        page,
        unknown
          ? empty(
              "Nothing with this id is known here.",
              "A message that is not settled yet is found from its process: open the process and look in its messages. Or are these the units of another network?",
            )
          : failure(error),
      );
    },
  );
  return page;
}

async function identify(id, signal) {
  const item = await gateway.find(id, { signal });
  const type = item && tagOf(item.tags, "Type");
  if (type === "Process") return processPage(id);
  if (type === "Assignment") {
    const process = tagOf(item.tags, "Process");
    return messagePage(tagOf(item.tags, "Message") ?? process, process);
  }
  if (item) return messagePage(id);
  // Not settled yet: its scheduler knows it all the same.
  await scheduler.home(id);
  return processPage(id);
}
