// What the explorer signs, against the vectors every unit is tested with.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const text = readFileSync(new URL("../../sdk/explorer/assets/item.js", import.meta.url));
const item = await import(`data:text/javascript;base64,${text.toString("base64")}`);
const vectors = JSON.parse(readFileSync(new URL("../vectors/data-items.json", import.meta.url)));

const hex = (bytes) => Buffer.from(bytes).toString("hex");
const value = (input) => (Array.isArray(input) ? input.map(value) : Uint8Array.from(Buffer.from(input.hex, "hex")));

test("base64url is read and written as the vectors say", () => {
  assert.ok(vectors.base64url.length > 0);
  for (const { hex: bytes, text: letters } of vectors.base64url) {
    assert.equal(item.encode(Buffer.from(bytes, "hex")), letters);
    assert.equal(hex(item.decode(letters)), bytes);
  }
});

test("tags become the bytes of the vectors", () => {
  assert.ok(vectors.avro_tags.length > 3);
  for (const { tags, encoded_hex: wanted } of vectors.avro_tags) assert.equal(hex(item.encodeTags(tags)), wanted);
});

test("deep hashes are those of the vectors", async () => {
  assert.ok(vectors.deep_hash.length > 3);
  for (const { name, input, sha384_hex: wanted } of vectors.deep_hash) assert.equal(hex(await item.deepHash(value(input))), wanted, name);
});

test("an item signed again with the same Ed25519 key is the same item", async () => {
  const items = vectors.items.filter((vector) => vector.signature_type === 2 && vector.tags && vector.key);
  assert.ok(items.length > 0);
  for (const vector of items) {
    const raw = Buffer.from(vector.raw, "base64url");
    const owner = raw.subarray(66, 98);
    const seed = item.encode(Buffer.from(vectors.keys.ed25519_and_solana.seed_hex, "hex"));
    const key = await crypto.subtle.importKey("jwk", { kty: "OKP", crv: "Ed25519", x: item.encode(owner), d: seed }, "Ed25519", false, ["sign"]);
    const fields = parts(raw, 98);
    const made = await item.sign(item.ed25519Signer(key, Uint8Array.from(owner)), { ...fields, tags: vector.tags });
    assert.equal(made.id, vector.id, vector.name);
    assert.equal(hex(made.bytes), hex(raw), vector.name);
  }
});

test("an item signed with an Arweave wallet verifies over the payload of the vector", async () => {
  const { jwk } = vectors.keys.arweave_rsa4096;
  const signer = await item.arweaveSigner(jwk);
  const vector = vectors.items.find(({ name }) => name === "arweave_message");
  const raw = Buffer.from(vector.raw, "base64url");
  const fields = parts(raw, 1026);
  const made = await item.sign(signer, { ...fields, tags: vector.tags });
  // Everything but the signature, which has chance in it, is the same.
  assert.equal(hex(made.bytes.subarray(514)), hex(raw.subarray(514)));
  assert.equal(made.id, createHash("sha256").update(made.bytes.subarray(2, 514)).digest("base64url"));
  const key = await crypto.subtle.importKey("jwk", { kty: "RSA", n: jwk.n, e: jwk.e }, { name: "RSA-PSS", hash: "SHA-256" }, false, ["verify"]);
  const payload = await item.payload(1, signer.owner, item.decode(fields.target ?? ""), fields.anchor ?? new Uint8Array(), item.encodeTags(vector.tags), fields.data);
  assert.ok(await crypto.subtle.verify({ name: "RSA-PSS", saltLength: 32 }, key, made.bytes.subarray(2, 514), payload));
});

test("what no unit would take is refused before it is signed", async () => {
  const tag = { name: "a", value: "b" };
  assert.throws(() => item.encodeTags(new Array(129).fill(tag)), /at most 128/);
  assert.throws(() => item.encodeTags([{ name: "a", value: "é".repeat(1537) }]), /at most 3072/);
  assert.throws(() => item.encodeTags(new Array(4).fill({ name: "a", value: "b".repeat(1100) })), /at most 4096/);
  await assert.rejects(item.arweaveSigner({ kty: "OKP" }), /Arweave wallet/);
  await assert.rejects(item.arweaveSigner({ kty: "RSA", n: "AQAB", d: "AQAB" }), /4096/);
});

/** Target, anchor and data of an item whose owner ends at an offset. */
function parts(raw, ownerEnd) {
  let at = ownerEnd;
  const optional = () => {
    const present = raw[at] === 1;
    at += 1;
    const field = present ? raw.subarray(at, at + 32) : undefined;
    if (present) at += 32;
    return field;
  };
  const target = optional();
  const anchor = optional();
  const tagBytes = Number(raw.readBigUInt64LE(at + 8));
  return { target: target && item.encode(target), anchor: anchor && Uint8Array.from(anchor), data: Uint8Array.from(raw.subarray(at + 16 + tagBytes)) };
}
