// The explorer in a real browser: everything a person does with it, on a network that the test beside it has prepared.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";

import { Browser } from "./browser.mjs";

const { CHROMIUM, GATEWAY_URL, MU_URL, SU_URL, CU_URL, COUNTER, ALICE, LONG, HOSTILE, HOSTILE_MESSAGE, HOSTILE_TEXT, BYTES_MESSAGE, EVAL } = process.env;
const MESSAGES = Number(process.env.MESSAGES);
const EXPLORER = process.env.EXPLORER ?? `${GATEWAY_URL}/explorer/`;
/** Longest time a page of a long log may take to be there, on a machine that does much else. */
const QUICK_MS = 10_000;

const text = readFileSync(new URL("../../sdk/explorer/assets/item.js", import.meta.url));
const item = await import(`data:text/javascript;base64,${text.toString("base64")}`);
const pair = await crypto.subtle.generateKey("Ed25519", false, ["sign", "verify"]);
const signer = item.ed25519Signer(pair.privateKey, new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey)));

let browser;
let page;

before(async () => {
  browser = new Browser(CHROMIUM);
  page = await browser.page();
});

afterEach(async (context) => {
  if (context.error ?? context.passed === false) {
    const path = join(tmpdir(), `holon-explorer-${process.pid}.png`);
    await page.picture(path).then(() => console.log(`the page looked like ${path}`), () => {});
  }
});

after(() => browser?.close());

/** Goes to a view, from any other. */
async function view(address, query = "") {
  await page.go(`${EXPLORER}${query}#${address}`);
  await page.until("the view is there", (hash) => location.hash === `#${hash}` && document.querySelector("main .page"), address);
}

/** Sends a message, not through the page, and returns its id. */
async function send(process, action, data = " ", more = {}) {
  const tags = Object.entries({ Action: action, ...more, "Data-Protocol": "ao", Variant: "ao.TN.1", Type: "Message" }).map(([name, value]) => ({ name, value }));
  const { id, bytes } = await item.sign(signer, { target: process, tags, data, anchor: crypto.getRandomValues(new Uint8Array(32)) });
  const answer = await fetch(MU_URL, { method: "POST", headers: { "content-type": "application/octet-stream" }, body: bytes });
  assert.equal(answer.status, 202, await answer.text());
  return id;
}

test("every unit serves the page and says who it is and where the others are", async () => {
  for (const [unit, url] of Object.entries({ gateway: GATEWAY_URL, mu: MU_URL, su: SU_URL, cu: CU_URL })) {
    const answer = await fetch(`${url}/explorer`);
    assert.equal(answer.status, 200, `${unit}: ${answer.url}`);
    assert.match(answer.headers.get("content-security-policy"), /default-src 'none'/);
    const told = await (await fetch(`${url}/explorer/network.json`)).json();
    assert.equal(told.self, unit);
    assert.deepEqual([told.gateway_url, told.mu_url, told.su_url, told.cu_url], [GATEWAY_URL, MU_URL, SU_URL, CU_URL]);
  }
});

test("the overview shows the units, and a message the moment it is scheduled", async () => {
  await view("/");
  await page.until("four units are up", () => document.querySelectorAll('.unit .dot[data-state="up"]').length === 4);
  await page.until("the list is live", () => document.querySelector('.live[data-state="live"]'));
  await page.until("the height is told", () => /\d,\d/.test(document.querySelector('[data-tile="Block height"] .value').textContent));
  const message = await send(COUNTER, "Increment");
  await page.until("the message is in the list", (id) => document.querySelector(`tr[data-message="${id}"]`)?.innerText.includes("Increment"), message);
  assert.match(await page.run((id) => document.querySelector(`tr[data-message="${id}"]`).innerText, message), /counter/);
  await page.until("it is counted", () => Number(document.querySelector('[data-tile="Messages a second"] .value').textContent) > 0);
  await page.until("its evaluation is counted", () => /[1-9]\d* since/.test(document.querySelector('[data-tile="Evaluations a second"]').innerText));
});

test("processes are found by name and id, sorted, and say when nothing fits", async () => {
  await view("/processes");
  await page.until("the processes are there", () => document.querySelectorAll("table.processes tbody tr").length >= 4);
  const length = (process) => document.querySelector(`tr[data-process="${process}"] td:last-child`)?.innerText.match(/^\d+$/)?.[0];
  const before = await page.until("the length of a log is told", length, COUNTER);
  await send(COUNTER, "Increment");
  await page.until("it grows at once", (process, was) => Number(document.querySelector(`tr[data-process="${process}"] td:last-child`).innerText) > Number(was), COUNTER, before);
  // A name is known when the gateway has its process, so one may come after the order was chosen.
  await page.until("they are in the order of their names", () => {
    const sort = document.querySelector("select");
    sort.value = "name";
    sort.dispatchEvent(new Event("change"));
    const named = [...document.querySelectorAll("table.processes tbody td:first-child .name")].map((name) => name.innerText).filter((name) => name !== "no name");
    return named.length >= 4 && named.join() === [...named].sort((a, b) => a.localeCompare(b)).join();
  });

  await page.click("input[aria-label='Search processes']");
  await page.type("alic");
  await page.until("only alice is left", () => document.querySelectorAll("table.processes tbody tr").length === 1 && document.querySelector("table.processes").innerText.includes("alice"));
  await page.type(" in wonderland");
  await page.reads('Nothing fits "alic in wonderland".');

  await view("/processes");
  await page.run(() => document.activeElement?.blur());
  await page.press("/");
  await page.until("the key leads to the search", () => document.activeElement?.matches("header input"));
  await page.type(LONG);
  await page.press("Enter");
  await page.until("the id leads to the process", (id) => location.hash === `#/process/${id}`, LONG);
});

test(`a log of ${MESSAGES} messages is quick to open, to leaf through and to jump in`, async () => {
  const begun = Date.now();
  await view(`/process/${LONG}`);
  await page.until("the newest page is there", (last) => document.querySelector(`tr[data-nonce="${last}"]`), MESSAGES);
  assert.ok(Date.now() - begun < QUICK_MS, `it took ${Date.now() - begun} ms`);
  await page.until("the newest has its result", (last) => document.querySelector(`tr[data-nonce="${last}"] .said`)?.innerText === String(last), MESSAGES);
  const rows = () => document.querySelectorAll("table.messages tbody tr:not(.detail)").length;
  assert.equal(await page.run(rows), 50);

  await page.click("Older");
  await page.until("the page before is there", (last) => document.querySelector(`tr[data-nonce="${last}"]`), MESSAGES - 50);
  assert.equal(await page.run(rows), 50);

  await page.click("input[aria-label='Go to slot']");
  await page.type("4321");
  await page.press("Enter");
  await page.until("the slot is open", () => document.querySelector('tr.pointed[data-nonce="4321"]')?.nextElementSibling.innerText.includes("Increment"));
  await page.until("with its result", () => document.querySelector('tr[data-nonce="4321"] .said')?.innerText === "4321");
  await page.click("[aria-label='Oldest messages']");
  await page.until("the spawn is there", () => document.querySelector('tr[data-nonce="0"]')?.innerText.includes("spawned"));
  assert.ok((await page.run(() => document.querySelectorAll("*").length)) < 6_000, "the page holds what is seen and no more");
});

test("new messages and their results come to an open process by themselves", async () => {
  await view(`/process/${COUNTER}`);
  await page.until("it is live", () => document.querySelector('.live[data-state="live"]'));
  await page.until("it is loaded", () => document.querySelector("table.messages tr[data-nonce]"));
  const message = await send(COUNTER, "Increment", "1000");
  await page.until("the result is there", (id) => /^\d{4,}$/.test(document.querySelector(`tr[data-message="${id}"] .said`)?.innerText), message);
  assert.equal(await page.run(() => document.querySelector("table.messages tbody tr").dataset.message), message, "the newest is on top");

  // Somebody who reads an old page is not disturbed, only told.
  await view(`/process/${LONG}?slot=100`);
  await page.until("the old slot is there", () => document.querySelector('tr[data-nonce="100"]'));
  await page.until("it is live", () => document.querySelector('.live[data-state="live"]'));
  await send(LONG, "Increment", "0");
  await page.until("the newer one is told", () => /newer/.test(document.querySelector(".fresh:not([hidden])")?.innerText));
  assert.ok(await page.run(() => document.querySelector('tr[data-nonce="100"]') !== null));
});

test("a message shows its tags, data and result, and the tree of what came of it", async () => {
  await view(`/message/${EVAL}?process=${ALICE}`);
  await page.until("the tree is complete", () => /all done/.test(document.querySelector(".tree-place + p")?.innerText));
  const nodes = await page.run(() => [...document.querySelectorAll(".tree .node")].map((node) => node.getAttribute("aria-label")));
  for (const wanted of [/^Eval to alice: evaluated/, /^Get to counter: evaluated/, /^Count to alice: evaluated/, /^Spawned to alice: /, /^Spawn to new process/]) {
    assert.ok(nodes.some((label) => wanted.test(label)), `${wanted} is among ${nodes.join(" | ")}`);
  }
  assert.match(await page.text(), /Data-Protocol/);
  assert.match(await page.text(), /Send\(\{/);
  // Every edge leads from a box to one further right.
  const right = await page.run(() => [...document.querySelectorAll(".tree .edges path")].every((edge) => /^M([\d.]+) .* ([\d.]+) [\d.]+$/.test(edge.getAttribute("d"))));
  assert.ok(right);

  await page.click(".tree a[aria-label^='Count']");
  await page.until("the message of the box is shown", () => document.querySelector("h1")?.innerText === "Count");
  await page.until("a process that an authority vouches for is its sender", (id) => document.querySelector(`.sender a[href="#/process/${id}"]`), COUNTER);
  await page.until("in the same tree, as the current one", () => document.querySelector(".tree .current")?.getAttribute("aria-label").startsWith("Count") && document.querySelectorAll(".tree .node").length >= 4);
});

test("the tree is what the messenger tells, and is found from results where it does not", async () => {
  const labels = () => [...document.querySelectorAll(".tree .node")].map((node) => node.getAttribute("aria-label").replace(/ in [\d,]+ ms$/, "")).sort();
  const note = () => document.querySelector(".tree-place + p")?.innerText;
  const done = () => /all done/.test(document.querySelector(".tree-place + p")?.innerText);
  await view(`/message/${EVAL}?process=${ALICE}`);
  await page.until("the tree is complete", done);
  assert.ok(page.requests.includes(`${MU_URL}/trace/${EVAL}?limit=200`));
  assert.doesNotMatch(await page.run(note), /does not tell/);
  assert.ok(await page.run(() => /^Get to counter: evaluated in [\d,]+ ms$/.test(document.querySelector('.tree [aria-label^="Get"]').getAttribute("aria-label"))));
  const told = await page.run(labels);

  // A messenger that keeps traces to its operator.
  const open = { "access-control-allow-origin": "*", "access-control-allow-headers": "*" };
  const secretive = createServer((_, answer) => answer.writeHead(401, open).end('{"error":"a token is needed"}'));
  await new Promise((listening) => secretive.listen(0, "127.0.0.1", listening));
  const origin = `http://127.0.0.1:${secretive.address().port}`;
  try {
    await view(`/message/${EVAL}?process=${ALICE}`, `?mu=${encodeURIComponent(origin)}`);
    await page.until("the tree is complete", done);
    assert.match(await page.run(note), /does not tell/);
    // Notices of spawns are the messenger's own: no result has them.
    const found = await page.run(labels);
    assert.deepEqual(found.filter((label) => !label.startsWith("Spawned")), told.filter((label) => !label.startsWith("Spawned")));
  } finally {
    await view("/");
    secretive.closeAllConnections();
    secretive.close();
    page.requests = page.requests.filter((url) => !url.startsWith(origin));
  }
});

test("a process shows its children, its checkpoints, its spawn and its state at a slot", async () => {
  await view(`/process/${ALICE}/children`);
  await page.reads("carol");
  await page.click("Checkpoints");
  await page.reads("No checkpoints are on Arweave.");
  await page.click("Spawn");
  await page.reads("Scheduler");
  await view(`/process/${LONG}/state`);
  await page.until("there is a root", () => /[\w-]{43}/.test(document.querySelector(".panel")?.innerText));
  const newest = await page.text(".panel .facts");
  await page.click("input[aria-label='Slot']");
  await page.type("10");
  await page.click("Show");
  await page.until("there is another root", (before) => {
    const now = document.querySelector(".panel .facts")?.innerText ?? "";
    return /Slot\s+10\s/.test(now) && now !== before;
  }, newest);
  await page.until("what is settled is told", () => /Settled\s+(everything|up to slot)/.test(document.querySelector(".facts-card").innerText));
});

test("a dry run answers without a wallet, and a signed message is sent with a key of the browser", async () => {
  await view(`/send?process=${COUNTER}`);
  await page.click("input[name='action']");
  await page.type("Get");
  await page.click("Dry run");
  await page.reads("nothing was changed");
  const before = Number(await page.text(".answer pre.output"));
  assert.ok(before >= 1000, `the counter is at ${before}`);

  await page.click("Sign and send");
  await page.reads("make a key or open a wallet first");
  await page.click("Use a key of this browser");
  await page.reads("this browser's key");
  const address = await page.run(() => document.querySelector(".wallet code").title);
  await page.run(() => {
    for (const [name, value] of [["action", "Increment"], ["data", "5"]]) document.querySelector(`[name="${name}"]`).value = value;
  });
  await page.click("Sign and send");
  await page.reads("the messenger has it");
  await page.until("the result is there", (wanted) => document.querySelector(".answer pre.output")?.innerText === String(wanted), before + 5);

  await page.click("Follow what comes of it");
  await page.until("the message is shown", () => document.querySelector("h1")?.innerText === "Increment");
  await page.until("signed by that key", (wanted) => [...document.querySelectorAll(".facts code")].some((code) => code.title === wanted), address);

  // The key is there the next time too.
  await page.go(`${EXPLORER}?again#/send`);
  await page.until("the same key", (wanted) => document.querySelector(".wallet code")?.title === wanted, address);
});

test("a wallet file is used without being kept", async () => {
  const { keys } = JSON.parse(readFileSync(new URL("../vectors/data-items.json", import.meta.url)));
  const drop = (name, text) => {
    const carried = new DataTransfer();
    carried.items.add(new File([text], name));
    document.querySelector(".wallet").dispatchEvent(new DragEvent("drop", { dataTransfer: carried, bubbles: true, cancelable: true }));
  };
  await view(`/send?process=${COUNTER}&like=Increment`);
  await page.run(drop, "notes.json", '{"kty": "none"}');
  await page.reads("this is no Arweave wallet");
  await page.run(drop, "arweave.json", JSON.stringify(keys.arweave_rsa4096.jwk));
  await page.until("its address is shown", (wanted) => document.querySelector(".wallet code")?.title === wanted, keys.arweave_rsa4096.address);
  await page.click("Sign and send");
  await page.until("the messenger took it and it was evaluated", () => /^\d+$/.test(document.querySelector(".answer pre.output")?.innerText));
  await page.go(`${EXPLORER}?anew#/send`);
  await page.until("the next page has the browser's own key again", (before) => document.querySelector(".wallet code") && document.querySelector(".wallet code").title !== before, keys.arweave_rsa4096.address);
});

test("a scheduler without events is asked again and again instead", async () => {
  const open = { "access-control-allow-origin": "*", "access-control-allow-headers": "*" };
  const foreign = createServer(async (request, answer) => {
    if (request.url.startsWith("/events")) return answer.writeHead(404, open).end();
    const told = await fetch(SU_URL + request.url);
    return answer.writeHead(told.status, open).end(await told.text());
  });
  await new Promise((listening) => foreign.listen(0, "127.0.0.1", listening));
  const origin = `http://127.0.0.1:${foreign.address().port}`;
  try {
    await view(`/process/${COUNTER}`, `?su=${encodeURIComponent(origin)}`);
    await page.until("it polls", () => document.querySelector('.live[data-state="polling"]'));
    const message = await send(COUNTER, "Increment");
    await page.until("the message comes with its result", (id) => /^\d+$/.test(document.querySelector(`tr[data-message="${id}"] .said`)?.innerText), message);
  } finally {
    await view("/");
    foreign.closeAllConnections();
    foreign.close();
    page.requests = page.requests.filter((url) => !url.startsWith(origin));
  }
});

test("what is missing or wrong in the form is said where it is", async () => {
  await view("/send");
  await page.click("Dry run");
  await page.reads("Which process?");
  await page.until("the field has the focus", () => document.activeElement?.name === "process");
  await page.type("too short");
  await page.click("Dry run");
  await page.reads("43 letters");
});

test("a result of what the compute unit could not check says so", async () => {
  const chip = 'tr[data-nonce="2"] .outcome .chip.warn';
  const marked = () => page.until("the row is marked", (where) => document.querySelector(where)?.innerText === "unchecked", chip);
  // Evaluated for this page, and then stored.
  for (const _ of [1, 2]) {
    await view(`/process/${HOSTILE}`);
    await marked();
    await view("/processes");
  }
  // On a phone, too, what came of a message is on the screen.
  await page.resize(380, 800);
  await view(`/process/${HOSTILE}`);
  await marked();
  const right = await page.run((where) => document.querySelector(where).getBoundingClientRect().right, chip);
  assert.ok(right <= 380, `the mark ends at ${right}`);
  await page.resize(1280, 900);
  await view(`/message/${BYTES_MESSAGE}?process=${HOSTILE}`);
  await page.until("the page says so", () => document.querySelector(".result-view .banner")?.innerText.includes("could not check"));
  await view(`/message/${HOSTILE_MESSAGE}?process=${HOSTILE}`);
  await page.until("the result is there", () => document.querySelector(".result-view .banner"));
  assert.equal(await page.run(() => document.querySelector(".result-view").innerText.includes("could not check")), false);
});

test("HTML in names, tags, data and errors is text and nothing else", async () => {
  const harmless = async () => {
    assert.equal(await page.run(() => document.querySelectorAll("main img, main script, main iframe, main b.planted").length), 0);
    assert.equal(await page.run(() => globalThis.hacked), undefined);
  };
  const stays = (selector) => page.until(`the HTML can be read in ${selector}`, (where, wanted) => document.querySelector(where)?.innerText.includes(wanted), selector, HOSTILE_TEXT);
  await view("/processes");
  await stays("table.processes");
  await harmless();
  await view(`/process/${HOSTILE}`);
  await stays("h1");
  await page.until("the error, which names the action, is there", () => document.querySelector('tr[data-nonce="1"] .chip.bad'));
  await stays('tr[data-nonce="1"] .outcome');
  await stays("table.messages");
  await page.click('tr[data-nonce="1"] button.open');
  await stays("tr.detail .tags");
  await stays("tr.detail pre");
  await harmless();
  await view(`/message/${HOSTILE_MESSAGE}?process=${HOSTILE}`);
  await stays("h1");
  await stays(".tags");
  await page.until("the tree is there", () => document.querySelector(".tree .node"));
  await harmless();
  await view("/");
  await page.until("the list is there", () => document.querySelector("table.entries tbody tr"));
  await harmless();
  // What comes in the address of the page is foreign too.
  await view(`/processes?search=${encodeURIComponent(HOSTILE_TEXT)}`);
  await harmless();
  await page.go(`${EXPLORER}?cu=javascript:alert(1)#/send?process=%3Cimg%20src=x%20onerror=alert(1)%3E`);
  await page.until("the form is there", () => document.querySelector("main form"));
  await harmless();
});

test("a sender that only the signer names is shown as a claim", async () => {
  const told = (selector) => page.until(`the claim is in ${selector}`, (where) => /^signed by .+, claims to come from \S+$/s.test(document.querySelector(where)?.innerText.trim()), selector);
  const unlinked = (selector) => page.run((where) => document.querySelector(where).querySelectorAll("a").length, selector).then((links) => assert.equal(links, 0));
  await view("/");
  await page.until("the list is live", () => document.querySelector('.live[data-state="live"]'));
  const message = await send(COUNTER, "Forged", " ", { "From-Process": ALICE });
  const address = await item.addressOf(signer);
  for (const [address_, selector] of [
    [undefined, `tr[data-message="${message}"] .sender`],
    [`/process/${COUNTER}`, `tr[data-message="${message}"] .sender`],
    [`/message/${message}?process=${COUNTER}`, ".facts .sender"],
  ]) {
    if (address_) await view(address_);
    await told(selector);
    await unlinked(selector);
    const names = await page.run((where) => [...document.querySelectorAll(`${where} code`)].map((code) => code.title), selector);
    assert.deepEqual(names, [address, ALICE]);
  }
  // Nor does the table of tags make more of it than that the signer said so.
  const row = "table.tags tr:has(.said-so)";
  assert.match(await page.text(row), new RegExp(`^From-Process\\s+${ALICE}\\s+said by the signer$`));
  await unlinked(row);
});

test("characters that are not seen, or that turn others about, are written out", async () => {
  const unseen = "a\u202eb\u2066c\u200fd\u0007e\u009bf";
  const written = "a\\u{202e}b\\u{2066}c\\u{200f}d\\u{7}e\\u{9b}f";
  const message = await send(COUNTER, unseen, "x\u202ey", { [unseen]: unseen });
  const nothing = () => page.run(() => {
    const attributes = [...document.querySelectorAll("[title], [aria-label]")].flatMap((element) => [element.title, element.getAttribute("aria-label") ?? ""]);
    return [document.title, document.body.innerText, ...attributes].filter((text) => /[\u0000-\u0008\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/.test(text));
  }).then((raw) => assert.deepEqual(raw, []));
  const reads = (selector, text) => page.until(`${text} is in ${selector}`, (where, wanted) => document.querySelector(where)?.innerText.includes(wanted), selector, text);
  await view("/");
  await reads("table.entries", written);
  await nothing();
  await view(`/process/${COUNTER}`);
  await reads(`tr[data-message="${message}"] .action`, written);
  await nothing();
  await view(`/message/${message}?process=${COUNTER}`);
  await reads("h1", written);
  await reads(".tags", written);
  await reads("pre.data", "x\\u{202e}y");
  await page.until("the tree has it", (wanted) => document.querySelector(".tree .node")?.getAttribute("aria-label").includes(wanted), written);
  await nothing();
});

test("what is not there is said, with what to do", async () => {
  const nobody = "A".repeat(43);
  await view(`/process/${nobody}`);
  await page.reads("No such process is known here.");
  await view(`/message/${nobody}`);
  await page.reads("This message is not known here.");
  await view("/process/short");
  await page.reads("This is not the id of a process.");
  await page.go(`${EXPLORER}#/no/such/page`);
  await page.reads("There is no such page.");
  await view(`/process/${COUNTER}/children`);
  await page.reads("It has spawned no processes.");
  await view("/processes?show=parked");
  await page.reads("No process is parked.");
});

test("a unit that is down is shown as down, and the rest goes on", async () => {
  const other = await browser.page();
  const kept = page;
  page = other;
  try {
    await page.go(`${EXPLORER}?cu=${encodeURIComponent("http://127.0.0.1:9")}#/`);
    await page.until("compute is down", () => document.querySelector('.unit[data-unit="cu"][data-down]'));
    await page.until("the others are up", () => document.querySelectorAll('.unit .dot[data-state="up"]').length === 3);
    await page.go(`${EXPLORER}?cu=${encodeURIComponent("http://127.0.0.1:9")}#/process/${COUNTER}`);
    await page.reads("no result");
    await page.click("[aria-label='Units this page talks to']");
    await page.until("the settings are open", () => document.querySelector("dialog[open]"));
    await page.run(() => (document.querySelector("dialog input[name='cu']").value = "ftp://x"));
    await page.click("Use these");
    await page.reads("is not a URL that begins with");
    await page.click("Back to this service's own");
    await page.until("the result is there", () => /\d/.test(document.querySelector("tr[data-nonce] .said")?.innerText));
    assert.ok(!(await page.run(() => location.search)).includes("cu="));
    assert.deepEqual(page.complaints, []);
  } finally {
    await other.close();
    page = kept;
  }
});

test("it is dark or light as the system or the user wants, narrow as a phone, and still for who wants it still", async () => {
  const ground = () => getComputedStyle(document.body).backgroundColor;
  await page.prefer({ "prefers-color-scheme": "dark" });
  await view("/processes");
  await page.until("it is dark", () => document.documentElement.dataset.theme === "dark");
  const dark = await page.run(ground);
  await page.prefer({ "prefers-color-scheme": "light" });
  await page.until("it is light", (before) => getComputedStyle(document.body).backgroundColor !== before, dark);
  await page.click("[aria-label='Change to dark']");
  await page.until("the user wins", (wanted) => getComputedStyle(document.body).backgroundColor === wanted, dark);
  await page.click("[aria-label='Change to light']");

  await view("/");
  await page.prefer({ "prefers-reduced-motion": "reduce" });
  await page.until("it is live", () => document.querySelector('.live[data-state="live"]'));
  assert.equal(await page.run(() => getComputedStyle(document.querySelector(".live .dot")).animationName), "none");

  await page.resize(380, 800);
  for (const address of ["/", "/processes", `/process/${ALICE}`, `/process/${HOSTILE}`, `/message/${EVAL}?process=${ALICE}`, `/message/${HOSTILE_MESSAGE}?process=${HOSTILE}`, `/send?process=${COUNTER}`]) {
    await view(address);
    await page.until("the page is filled", () => document.querySelector("main .page") && !document.querySelector("main .waiting"));
    const width = await page.run(() => document.documentElement.scrollWidth);
    assert.ok(width <= 380, `${address} is ${width} wide`);
  }
  await page.resize(1280, 900);
});

test("everything can be reached with the keyboard and has a name", async () => {
  await view(`/process/${ALICE}`);
  await page.until("the messages are there", () => document.querySelector('tr[data-nonce="0"]'));
  const nameless = await page.run(() =>
    [...document.querySelectorAll("a, button, input, select, textarea")]
      .filter((element) => element.offsetParent !== null)
      .filter((element) => !(element.innerText?.trim() || element.getAttribute("aria-label") || element.labels?.length || element.title))
      .map((element) => element.outerHTML),
  );
  assert.deepEqual(nameless, []);
  await page.run(() => document.querySelector('tr[data-nonce="1"] button.open').focus());
  await page.press("Enter");
  await page.until("Enter opens the details", () => document.querySelector('tr[data-nonce="1"] + tr.detail:not([hidden])'));
});

test("the page asked nobody but its units and complained about nothing", async () => {
  const allowed = [EXPLORER, GATEWAY_URL, MU_URL, SU_URL, CU_URL].map((url) => new URL(url).origin);
  const strangers = page.requests.filter((url) => !url.startsWith("data:") && !url.startsWith("about:") && !allowed.includes(new URL(url).origin));
  assert.deepEqual(strangers, []);
  assert.ok(page.requests.length > 100);
  assert.deepEqual(page.complaints, []);
});
