// Two people in the chat of `examples/chat`, in a real browser. The test beside it tells where the page is and takes units away.

import assert from "node:assert/strict";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, afterEach, before, test } from "node:test";

import { Browser } from "./browser.mjs";

const { CHROMIUM, CHAT, PICTURES } = process.env;
const HOSTILE = "<img src=x onerror=hacked=1>";

let browser;
let ada;
let bob;

// The test beside this one does what is written to it and answers with a line.
const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
async function please(order) {
  console.log(`please ${order}`);
  assert.equal((await answers.next()).value, "done");
}

before(async () => {
  browser = new Browser(CHROMIUM);
  ada = await browser.page({ width: 860, height: 720 });
  bob = await browser.page({ width: 860, height: 720 });
});

afterEach(async (context) => {
  if (context.error ?? context.passed === false) {
    for (const [name, page] of Object.entries({ ada, bob })) {
      const path = join(tmpdir(), `holon-chat-${name}-${process.pid}.png`);
      await page.picture(path).then(() => console.log(`${name}'s page looked like ${path}: ${page.complaints}`), () => {});
    }
  }
});

after(async () => {
  await browser?.close();
  process.stdin.destroy();
});

async function enter(page, who) {
  await page.go(`${CHAT}/?as=${encodeURIComponent(who)}`);
  await page.reads("Your wallet is", "#who");
  await page.click("#join input");
  await page.type(who);
  await page.press("Enter");
  await page.until("the room is entered", () => !document.querySelector("#say").hidden);
}

async function say(page, text) {
  await page.click("#say textarea");
  await page.type(text);
  await page.press("Enter");
}

/** Waits until a page shows a line as said by somebody, and as heard back from the room. */
const hears = (page, text, who) =>
  page.until(
    `"${text}" of ${who} is heard`,
    (said, by) => [...document.querySelectorAll("#lines li:not(.pending)")].some((line) => line.dataset.nickname === by && [...line.querySelectorAll(".bubble p")].some((p) => p.textContent === said)),
    text,
    who,
  );

const picture = (page, name) => (PICTURES ? page.picture(join(PICTURES, name)) : undefined);

test("two people come in with wallets of their own and hear each other", async () => {
  await enter(ada, "Ada");
  await ada.reads("Nothing has been said here yet.");
  await enter(bob, "Bob");
  assert.notEqual(await ada.text("#who code"), await bob.text("#who code"));
  // Who comes is seen by who is there.
  await ada.until("both are here", () => document.querySelector("#people").innerText === "2 members");

  await say(ada, "Hello! Is anybody here?");
  await hears(bob, "Hello! Is anybody here?", "Ada");
  await say(bob, "I am. Every line of ours is a signed message in the log of a process.");
  await hears(ada, "I am. Every line of ours is a signed message in the log of a process.", "Bob");
  await say(bob, "Whoever replays it knows what was said, and by whom.");
  await say(ada, "So nobody keeps this room for us?");
  await hears(bob, "So nobody keeps this room for us?", "Ada");
  await hears(ada, "So nobody keeps this room for us?", "Ada");
  await hears(ada, "Whoever replays it knows what was said, and by whom.", "Bob");
  await say(bob, "Nobody, and everybody.");
  for (const page of [ada, bob]) {
    await hears(page, "Nobody, and everybody.", "Bob");
    // Once each: nothing is shown as on its way that has arrived.
    await page.until("nothing is on its way", () => document.querySelectorAll(".pending").length === 0);
    assert.equal(await page.run(() => document.querySelectorAll(".bubble").length), 5);
  }
  await ada.prefer({ "prefers-color-scheme": "light" });
  await picture(ada, "chat.png");
  await bob.prefer({ "prefers-color-scheme": "dark" });
  await bob.click("#people");
  await bob.until("the members are shown", () => document.querySelector("#members").innerText.includes("Ada"));
  await picture(bob, "chat-dark.png");
});

test("who comes back is known, and reads what was said", async () => {
  const before = await ada.text("#who");
  await ada.go("about:blank");
  await ada.go(`${CHAT}/?as=Ada`);
  await ada.until("the room is entered", () => !document.querySelector("#say").hidden);
  assert.equal(await ada.text("#who"), before);
  await hears(ada, "Hello! Is anybody here?", "Ada");
  await ada.until("all lines are there, once", () => document.querySelectorAll(".bubble").length === 5);
  assert.equal(await ada.run(() => document.querySelector("#join").hidden), true);
});

test("what is HTML to a browser is text to the room, as a line and as a name", async () => {
  const eve = await browser.page({ width: 420, height: 720 });
  await enter(eve, HOSTILE);
  await say(eve, `${HOSTILE}\n<script>hacked = 1</script>`);
  for (const page of [ada, bob, eve]) {
    await hears(page, `${HOSTILE}\n<script>hacked = 1</script>`, HOSTILE);
    assert.equal(await page.run(() => typeof hacked), "undefined");
  }
  await picture(eve, "chat-narrow.png");
  assert.ok(await eve.run(() => document.documentElement.scrollWidth <= innerWidth), "nothing is wider than a telephone");
  await eve.close();
});

test("a line that cannot be said says why, and can be said again", async () => {
  await please("take the messenger away");
  await say(ada, "Can you hear me?");
  await ada.until("it is not said", () => document.querySelector(".failed .reason")?.innerText.includes("Not said"));
  await please("bring the messenger back");
  await ada.click("Try again");
  await hears(bob, "Can you hear me?", "Ada");
  await ada.until("nothing is left of the failure", () => document.querySelectorAll(".pending").length === 0);
});

test("nothing that was said while the compute unit was away is missed", async () => {
  await please("take the compute unit away");
  await bob.until("it is noticed", () => document.querySelector("#state").dataset.state === "waiting");
  await please("bring the compute unit back");
  await say(ada, "Welcome back");
  await hears(bob, "Welcome back", "Ada");
  await bob.until("it is live again", () => document.querySelector("#state").dataset.state === "live");
});

test("the pages asked nobody but the server and the network, and complained about nothing", async () => {
  for (const page of [ada, bob]) {
    const outside = page.requests.filter((url) => !/^http:\/\/127\.0\.0\.1:\d+\//.test(url) && url !== "about:blank");
    assert.deepEqual(outside, []);
    assert.deepEqual(page.complaints, []);
  }
});
