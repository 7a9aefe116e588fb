// Who signs: a key this browser keeps and never shows, or a wallet file that is forgotten with the page.

import { addressOf, arweaveSigner, ed25519Signer } from "./item.js";

const DATABASE = "holon-explorer";
const STORE = "keys";
const OWN = "own";

let current = null;

/** The wallet in use: `{ address, name, signer }`, or `null`. */
export const wallet = () => current;

/** Whether this page may use keys: browsers allow it on this machine and over HTTPS only. */
export const available = () => globalThis.crypto?.subtle !== undefined;

/** Takes the key of this browser into use if there is one. */
export async function restore() {
  if (!available() || current) return current;
  try {
    const pair = await withStore("readonly", (store) => store.get(OWN));
    if (pair) await use(pair);
  } catch (error) {
    // A browser may keep nothing, in private windows for example.
    console.warn(error);
  }
  return current;
}

/** Makes a key that this browser keeps and that cannot be taken out of it. */
export async function create() {
  let pair;
  try {
    pair = await crypto.subtle.generateKey("Ed25519", false, ["sign", "verify"]);
  } catch (error) {
    throw new Error("This browser cannot make Ed25519 keys: use a newer one, or a wallet file.", { cause: error });
  }
  try {
    await withStore("readwrite", (store) => store.put(pair, OWN));
  } catch (error) {
    console.warn(error);
  }
  await use(pair);
  return current;
}

/** Takes a wallet file into use, until the page is closed. */
export async function open(file) {
  const MAX_FILE_BYTES = 64 << 10;
  if (file.size > MAX_FILE_BYTES) throw new Error("This file is too large to be a wallet.");
  let jwk;
  try {
    jwk = JSON.parse(await file.text());
  } catch {
    throw new Error("This file is no wallet: it does not hold JSON.");
  }
  let signer;
  if (jwk.kty === "OKP" && jwk.crv === "Ed25519") {
    const key = await crypto.subtle.importKey("jwk", { kty: jwk.kty, crv: jwk.crv, x: jwk.x, d: jwk.d }, "Ed25519", false, ["sign"]);
    const { decode } = await import("./item.js");
    signer = ed25519Signer(key, decode(jwk.x));
  } else {
    signer = await arweaveSigner(jwk);
  }
  current = { signer, address: await addressOf(signer), name: file.name };
  return current;
}

/** Signs with nothing more; the browser's own key stays where it is. */
export function close() {
  current = null;
}

async function use(pair) {
  const owner = new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey));
  const signer = ed25519Signer(pair.privateKey, owner);
  current = { signer, address: await addressOf(signer), name: "this browser's key" };
}

function withStore(mode, work) {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open(DATABASE, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
      const database = opening.result;
      const turn = database.transaction(STORE, mode);
      const asked = work(turn.objectStore(STORE));
      turn.oncomplete = () => {
        database.close();
        resolve(asked.result);
      };
      turn.onerror = () => {
        database.close();
        reject(turn.error);
      };
    };
  });
}
