// Signed data items (ANS-104): tags, deep hash, signing. It runs in pages and in Node alike.

const TEXT = new TextEncoder();

/** Signature types and the sizes of their signatures and owners, in bytes. */
export const ARWEAVE = { type: 1, signature: 512, owner: 512 };
export const ED25519 = { type: 2, signature: 64, owner: 32 };

/** Most tags of an item. */
export const MAX_TAGS = 128;
/** Most bytes of a tag's name, of its value, and of all tags together. */
export const MAX_NAME_BYTES = 1024;
export const MAX_VALUE_BYTES = 3072;
export const MAX_TAG_BYTES = 4096;
const ANCHOR_BYTES = 32;

/** Base64url without padding. */
export function encode(bytes) {
  let letters = "";
  for (let at = 0; at < bytes.length; at += 0x8000) letters += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(letters).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** The bytes of base64url, with or without padding. */
export function decode(text) {
  const letters = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(letters, (letter) => letter.charCodeAt(0));
}

/** Bytes one after the other. */
export function concat(...parts) {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

const digest = async (algorithm, bytes) => new Uint8Array(await crypto.subtle.digest(algorithm, bytes));
const sha384 = (bytes) => digest("SHA-384", bytes);

/** SHA-256. */
export const sha256 = (bytes) => digest("SHA-256", bytes);

/** Deep hash of bytes or of a list of such. */
export async function deepHash(value) {
  if (value instanceof Uint8Array) {
    return sha384(concat(await sha384(TEXT.encode(`blob${value.length}`)), await sha384(value)));
  }
  let hash = await sha384(TEXT.encode(`list${value.length}`));
  for (const element of value) hash = await sha384(concat(hash, await deepHash(element)));
  return hash;
}

/** A number as Avro writes a `long`. Only counts and lengths are written, so it is never negative. */
function long(number) {
  const bytes = [];
  let left = number * 2;
  do {
    const low = left % 128;
    left = Math.floor(left / 128);
    bytes.push(left > 0 ? low | 0x80 : low);
  } while (left > 0);
  return Uint8Array.from(bytes);
}

/** Tags as Avro: nothing at all when there are none. Fails when they are too many or too long. */
export function encodeTags(tags) {
  if (tags.length === 0) return new Uint8Array();
  if (tags.length > MAX_TAGS) throw new RangeError(`${tags.length} tags; at most ${MAX_TAGS} are allowed`);
  const parts = [long(tags.length)];
  for (const { name, value } of tags) {
    const [its, worth] = [TEXT.encode(name), TEXT.encode(value)];
    if (its.length > MAX_NAME_BYTES) throw new RangeError(`the name of a tag has ${its.length} bytes; at most ${MAX_NAME_BYTES} are allowed`);
    if (worth.length > MAX_VALUE_BYTES) throw new RangeError(`the tag ${name} has ${worth.length} bytes; at most ${MAX_VALUE_BYTES} are allowed`);
    parts.push(long(its.length), its, long(worth.length), worth);
  }
  const encoded = concat(...parts, long(0));
  if (encoded.length > MAX_TAG_BYTES) throw new RangeError(`the tags have ${encoded.length} bytes; at most ${MAX_TAG_BYTES} are allowed`);
  return encoded;
}

/** What is signed: the deep hash over everything that counts. All of it bytes; an absent target or anchor is empty. */
export function payload(type, owner, target, anchor, tags, data) {
  return deepHash([TEXT.encode("dataitem"), TEXT.encode("1"), TEXT.encode(String(type)), owner, target, anchor, tags, data]);
}

/**
 * Makes a signed item and its id: `{ id, bytes }`.
 *
 * `signer` is `{ kind, owner, sign(payload) }` with one of the kinds above; `target` an id or nothing; `anchor` 32 bytes or
 * nothing; `tags` a list of `{name, value}`; `data` a text or bytes.
 */
export async function sign(signer, { target, anchor, tags = [], data = "" }) {
  const { kind, owner } = signer;
  const to = target ? decode(target) : new Uint8Array();
  if (target && to.length !== 32) throw new RangeError(`the target ${target} is not an id`);
  const mark = anchor ?? new Uint8Array();
  if (mark.length !== 0 && mark.length !== ANCHOR_BYTES) throw new RangeError(`an anchor has ${ANCHOR_BYTES} bytes, not ${mark.length}`);
  const encoded = encodeTags(tags);
  const content = typeof data === "string" ? TEXT.encode(data) : data;
  const signature = await signer.sign(await payload(kind.type, owner, to, mark, encoded, content));
  if (signature.length !== kind.signature || owner.length !== kind.owner) throw new RangeError("the signer does not fit its kind");
  const head = new Uint8Array(2);
  new DataView(head.buffer).setUint16(0, kind.type, true);
  const counts = new Uint8Array(16);
  const view = new DataView(counts.buffer);
  view.setBigUint64(0, BigInt(tags.length), true);
  view.setBigUint64(8, BigInt(encoded.length), true);
  const presence = (field) => concat(Uint8Array.of(field.length > 0 ? 1 : 0), field);
  return {
    id: encode(await sha256(signature)),
    bytes: concat(head, signature, owner, presence(to), presence(mark), counts, encoded, content),
  };
}

/** A signer over a WebCrypto key pair of the kind Ed25519. */
export function ed25519Signer(privateKey, owner) {
  return {
    kind: ED25519,
    owner,
    sign: async (message) => new Uint8Array(await crypto.subtle.sign("Ed25519", privateKey, message)),
  };
}

/** A signer over an Arweave wallet: an RSA key of 4096 bits as a JWK. Fails when it is something else. */
export async function arweaveSigner(jwk) {
  if (jwk?.kty !== "RSA" || typeof jwk.n !== "string" || typeof jwk.d !== "string") throw new TypeError("this is no Arweave wallet: an RSA key as JWK is needed");
  const owner = decode(jwk.n);
  if (owner.length !== ARWEAVE.owner) throw new TypeError(`the key has ${owner.length * 8} bits; Arweave wallets have 4096`);
  const { n, e, d, p, q, dp, dq, qi } = jwk;
  const how = { name: "RSA-PSS", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("jwk", { kty: "RSA", n, e, d, p, q, dp, dq, qi }, how, false, ["sign"]);
  return {
    kind: ARWEAVE,
    owner,
    sign: async (message) => new Uint8Array(await crypto.subtle.sign({ name: "RSA-PSS", saltLength: 32 }, key, message)),
  };
}

/** The address of a signer. */
export const addressOf = async (signer) => encode(await sha256(signer.owner));
