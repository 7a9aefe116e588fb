// A chat room on the network: what is written goes through aoconnect, what is said comes as server-sent events of the compute unit.

import { connect, createDataItemSigner } from "./aoconnect.js";

/** The room's longest line, in bytes. */
export const TEXT_LIMIT_BYTES = 4096;

const tagsOf = (tags) => Object.entries(tags).map(([name, value]) => ({ name, value }));
const tagOf = (message, name) => message.Tags.find((tag) => tag.name === name)?.value;

export class Room {
  #ao;
  #network;
  #signer;

  /** `network` is what the server tells about itself, `wallet` what a wallet extension is, or the one of `wallet.js`. */
  constructor(network, wallet) {
    const { MU_URL, CU_URL, GATEWAY_URL } = network;
    this.#ao = connect({ MODE: "legacy", MU_URL, CU_URL, GATEWAY_URL });
    this.#network = network;
    this.#signer = createDataItemSigner(wallet);
  }

  /** Who is here: `[{ Address, Nickname }]`. */
  members() {
    return this.#ask("Members");
  }

  /** What was said lately: `[{ From, Nickname, At, Data }]`, oldest first. */
  history() {
    return this.#ask("History");
  }

  /** Comes in, or takes another name. */
  join(nickname) {
    return this.#tell({ Action: "Register", Nickname: nickname });
  }

  /** Says something. `mark` comes back with what everybody hears. */
  say(text, mark) {
    return this.#tell({ Action: "Broadcast", "X-Mark": mark }, text);
  }

  /**
   * Listens from a time in milliseconds on. `heard` gets `{ from, nickname, at, text, mark }`, `changed()` is called when somebody comes or
   * goes, `state` gets "live" or "waiting". A browser opens a lost stream again after the last event it has, so nothing is missed.
   */
  listen(since, { heard, changed, state }) {
    const stream = new EventSource(`${this.#network.CU_URL}/events/${this.#network.ROOM}?from=${since}`);
    stream.onopen = () => state("live");
    stream.onerror = () => {
      state("waiting");
      // A unit that answers with an error is not asked again by the browser.
      if (stream.readyState === EventSource.CLOSED) setTimeout(() => this.listen(since, { heard, changed, state }), 2_000);
    };
    stream.addEventListener("result", (event) => {
      const { timestamp, result } = JSON.parse(event.data);
      since = timestamp;
      for (const message of result.Messages ?? []) {
        const action = tagOf(message, "Action");
        if (action === "Registered" || action === "Unregistered") changed();
        if (action !== "Broadcasted") continue;
        // All members get the same; one of the copies is enough.
        heard({ from: tagOf(message, "Broadcaster"), nickname: tagOf(message, "Nickname") ?? "", at: timestamp, text: message.Data, mark: tagOf(message, "X-Mark") });
        break;
      }
    });
  }

  async #ask(action) {
    const { Output, Error: error } = await this.#ao.dryrun({ process: this.#network.ROOM, tags: tagsOf({ Action: action }) });
    if (error) throw new Error(error);
    return Output;
  }

  /** Signs and sends, and waits for what the room makes of it. */
  async #tell(tags, data) {
    const process = this.#network.ROOM;
    const message = await this.#ao.message({ process, signer: this.#signer, tags: tagsOf(tags), data });
    const { Messages = [], Error: error } = await this.#ao.result({ process, message });
    const refused = Messages.map((answer) => tagOf(answer, "Error")).find((text) => text);
    if (error ?? refused) throw new Error(error ?? refused);
    return message;
  }
}
