// The wallet of this browser: an Ed25519 key that it keeps and that nobody can take out, not even this page.

import { addressOf, ed25519Signer, sign } from "./item.js";

const DATABASE = "holon-chat";
const STORE = "wallets";

/**
 * The wallet with this name, made when there is none. It has an `address`, and what aoconnect asks of wallet extensions: one of those,
 * `globalThis.arweaveWallet`, can take its place.
 */
export async function wallet(name) {
  const keys = (await kept("readonly", (store) => store.get(name))) ?? (await make(name));
  const signer = ed25519Signer(keys.privateKey, new Uint8Array(await crypto.subtle.exportKey("raw", keys.publicKey)));
  return {
    address: await addressOf(signer),
    /** Asks for permissions. This page has them. */
    async connect() {},
    /** Signs `{ target, tags, data }` and gives the bytes of the item. */
    async signDataItem(item) {
      // Such signatures are not random: without an anchor, the same words said twice would be the same message.
      const anchor = crypto.getRandomValues(new Uint8Array(32));
      return (await sign(signer, { anchor, ...item })).bytes.buffer;
    },
  };
}

async function make(name) {
  const keys = await crypto.subtle.generateKey("Ed25519", false, ["sign", "verify"]);
  await kept("readwrite", (store) => store.put(keys, name));
  return keys;
}

function kept(mode, work) {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open(DATABASE, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
      const turn = opening.result.transaction(STORE, mode);
      const asked = work(turn.objectStore(STORE));
      turn.oncomplete = () => {
        opening.result.close();
        resolve(asked.result);
      };
      turn.onabort = () => reject(turn.error);
    };
  });
}
