// Makes the requests of the aos console (aos --legacy) with the published aoconnect: boot, lookups by name, evaluating lines,
// the live feed, crons. The console itself is not published on npm; what it does when is described in spec 07 §5.
//
//   node aos-console.mjs <name of the module> <id of the module>
//
// The network is told by the variables of `holon env`. Every step prints one line; the exit code is 1 when one of them failed.

import assert from "node:assert/strict";
import { generateKeyPair, createHash } from "node:crypto";
import { promisify } from "node:util";
import { connect, createDataItemSigner } from "@permaweb/aoconnect";
import { finish, needed, step } from "./steps.mjs";

const { GATEWAY_URL, ARWEAVE_GRAPHQL, MU_URL, CU_URL, SCHEDULER, AUTHORITY, UPDATE_URL } = process.env;
const [moduleName, moduleId] = process.argv.slice(2);

// The messenger of the public network, which the console names as an authority whatever network it talks to.
const PUBLIC_AUTHORITY = "fcoN_xJeisVsPXA-trzVAuIiqO3ydLQxM-L4XbrQKzY";
const CONNECT_TRIES = 51;
const SEND_TRIES = 21;
const PAUSE_MS = 500;
const FEED_EVERY_MS = 2_000;
const DEADLINE_MS = 60_000;

const { message, spawn, result, results, dryrun, monitor, unmonitor } = connect({ MODE: "legacy", MU_URL, CU_URL, GATEWAY_URL });

// Not all at once: making a key takes seconds of a core, during which connections would go stale.
async function newWallet() {
  const { privateKey } = await promisify(generateKeyPair)("rsa", { modulusLength: 4096, publicExponent: 65537 });
  const jwk = privateKey.export({ format: "jwk" });
  const address = createHash("sha256").update(Buffer.from(jwk.n, "base64url")).digest("base64url");
  return { address, signer: createDataItemSigner(jwk) };
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const tags = (...pairs) => pairs.map(([name, value]) => ({ name, value }));
// ---- lookups (spec 07 §6): the console writes its queries by hand, with names inlined and commas left out

async function search(query, variables) {
  const answer = await fetch(ARWEAVE_GRAPHQL, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ query, variables }),
  });
  assert.equal(answer.status, 200);
  const { data } = await answer.json();
  assert.ok(data, "an answer without data is an error to the console");
  return data.transactions.edges.map(({ node }) => node);
}

// Q5
const processesNamed = (name, owner) =>
  search(
    `query ($owners: [String!]!) {
      transactions(
        first: 10
        owners: $owners
        tags: [
          { name: "Data-Protocol" values: ["ao"] }
          { name: "Type" values: ["Process"] }
          { name: "Name" values: ["${name}"] }
        ]
      ) { edges { node { id tags { name value } } } }
    }`,
    { owners: [owner, ""] },
  );

// Q6
const modulesNamed = (name) =>
  search(
    `query FindAoModuleByName($name: String!) {
      transactions(
        tags: [{ name: "Type", values: ["Module"] }, { name: "Data-Protocol", values: ["ao"] }, { name: "Name", values: [$name] }],
        sort: HEIGHT_DESC,
        first: 100
      ) { edges { node { id tags { name value } block { timestamp } } } }
    }`,
    { name },
  );

// Q7
const processesOf = (owner) =>
  search(
    `query ($owners: [String!]!) {
      transactions(first: 100, owners: $owners, tags: [{ name: "Data-Protocol", values: ["ao"] }, { name: "Type", values: ["Process"] }]) {
        edges { node { id owner { address } tags { name value } } }
      }
    }`,
    { owners: [owner] },
  );

const tagOf = (node, name) => node.tags.find((tag) => tag.name === name)?.value;

// ---- one console (spec 07 §5.2 – §5.4)

class Console {
  constructor(name, wallet, { cache = new Map(), data, cron, trusting = AUTHORITY, more = [] } = {}) {
    Object.assign(this, { name, wallet, cache, data, cron, trusting, more });
    this.printed = [];
    this.seen = new Set();
    this.prompt = undefined;
  }

  // Finds the process, or spawns it; says which.
  async boot() {
    const key = `${this.wallet.address}:${this.name}`;
    this.id = this.cache.get(key);
    if (this.id) return "cache";
    const found = await processesNamed(this.name, this.wallet.address);
    if (found.length > 0) {
      assert.equal(tagOf(found[0], "Variant"), "ao.TN.1", "what makes the console speak to a legacy network");
      this.id = found[0].id;
      this.cache.set(key, this.id);
      return found.length === 1 ? "gateway" : "choice";
    }
    this.id = await spawn({
      module: moduleId,
      scheduler: SCHEDULER,
      signer: this.wallet.signer,
      data: this.data ?? "",
      tags: [
        ...tags(["App-Name", "aos"], ["Name", this.name], ...this.more),
        ...(this.trusting ? tags(["Authority", this.trusting]) : []),
        ...(this.cron ? tags(["Cron-Interval", this.cron], ["Cron-Tag-Action", "Cron"]) : []),
        ...tags(["Authority", PUBLIC_AUTHORITY], ["aos-Version", "2.0.16"]),
      ],
    });
    this.cache.set(key, this.id);
    await pause(PAUSE_MS);
    return "spawned";
  }

  // Asks for the version until the process answers with a prompt. There is no pause: a unit that answers too early would be
  // asked fifty times in vain.
  async connect() {
    for (let tries = 1; tries <= CONNECT_TRIES; tries += 1) {
      const answer = await this.send("require('.process')._version");
      this.prompt = answer.Output?.prompt ?? answer.Output?.data?.prompt;
      if (this.prompt) return tries;
    }
    throw new Error("Could not connect to process! Exiting...");
  }

  // Sends a line and asks once for its result.
  async send(line) {
    let id;
    for (let tries = 1; !id; tries += 1) {
      try {
        id = await message({ process: this.id, signer: this.wallet.signer, data: line, tags: tags(["Action", "Eval"]) });
      } catch (error) {
        if (tries === SEND_TRIES) throw error;
        await pause(PAUSE_MS);
      }
    }
    await pause(PAUSE_MS);
    return result({ process: this.id, message: id });
  }

  // What stands on the screen after a line.
  async line(text) {
    const answer = await this.send(text);
    this.prompt = answer.Output?.data?.prompt ?? answer.Output?.prompt ?? this.prompt;
    if (answer.Error) return { error: String(answer.Error) };
    return { text: shown(answer) };
  }

  // The same in .dryrun mode.
  async try(text) {
    const answer = await dryrun({ process: this.id, Owner: this.wallet.address, data: text, tags: tags(["Action", "Eval"]) });
    return { text: shown(answer), error: answer.Error };
  }

  // One look of the live feed. The first sees the newest five; every other what is newer than the last edge received.
  async look() {
    const page = this.cursor
      ? await results({ process: this.id, from: this.cursor, sort: "ASC", limit: 1000 })
      : await results({ process: this.id, sort: "DESC", limit: 5 });
    this.cursor = page.edges.at(-1)?.cursor ?? this.cursor;
    const news = page.edges.filter(({ node, cursor }) => node.Output?.print === true && !this.seen.has(cursor));
    const place = ({ cursor }) => {
      const { ordinate } = JSON.parse(Buffer.from(cursor, "base64").toString());
      assert.ok(Number.isFinite(Number(ordinate)), `${cursor} names no ordinate`);
      return Number(ordinate);
    };
    news.sort((one, other) => place(one) - place(other));
    for (const { node, cursor } of news) {
      this.seen.add(cursor);
      this.printed.push(plain(node.Output.data));
      this.prompt = node.Output.prompt ?? this.prompt;
    }
    return page.edges.length;
  }

  // Looks every two seconds until something is printed; says how long that took.
  async until(pattern) {
    const begun = performance.now();
    while (performance.now() - begun < DEADLINE_MS) {
      await this.look();
      if (this.printed.some((text) => pattern.test(text))) return performance.now() - begun;
      await pause(FEED_EVERY_MS);
    }
    throw new Error(`${pattern} was never printed, but ${JSON.stringify(this.printed)}`);
  }
}

const plain = (text) => String(text).replaceAll(/\u001b\[[\d;]*m/g, "");
function shown({ Output: output }) {
  const value = output?.data?.output ?? output?.data ?? output;
  return typeof value === "string" ? plain(value) : value;
}

// ---- before the first process

await step("the update check is answered with nothing", async () => {
  const answer = await fetch(UPDATE_URL).catch(() => undefined);
  assert.ok(answer === undefined || answer.status === 404 || answer.status >= 500, `${answer?.status} would be unpacked`);
});

await step("a module is found by its name", async () => {
  const found = await modulesNamed(moduleName);
  assert.equal(found.length, 2, "two were published under the name");
  assert.ok(found.some(({ id }) => id === moduleId));
  for (const node of found) {
    assert.equal(typeof node.block?.timestamp, "number", "the newer one is told by its block");
    assert.ok(tagOf(node, "Module-Format"));
  }
  assert.deepEqual(await modulesNamed("nobody"), []);
});

// ---- boot

// Two people are enough: processes of one wallet have different names.
const mine = await newWallet();
const another = await newWallet();
const alice = new Console("alice", mine);
await needed("the first start spawns a process", async () => {
  assert.deepEqual(await processesNamed("alice", alice.wallet.address), []);
  assert.equal(await alice.boot(), "spawned");
  return true;
});

await needed("it answers with a prompt when it is asked for the first time", async () => {
  assert.equal(await alice.connect(), 1);
  assert.match(plain(alice.prompt), /^alice@aos-\d+\.\d+\.\d+\[Inbox:\d+\]> $/);
  return true;
});

await step("the next start finds it in the cache, and without the cache by its name", async () => {
  const { cache, id } = alice;
  const again = new Console("alice", mine, { cache });
  assert.equal(await again.boot(), "cache");
  const anew = new Console("alice", mine);
  assert.equal(await anew.boot(), "gateway");
  assert.equal(anew.id, id);
  assert.equal(await anew.connect(), 1);
});

await step("nobody finds the process of another under the same name", async () => {
  assert.deepEqual(await processesNamed("alice", another.address), []);
});

await step("two processes of one name are both offered", async () => {
  const twin = new Console("twins", another);
  assert.equal(await twin.boot(), "spawned");
  const other = new Console("twins", another);
  // As with a cache that was lost while the gateway had not indexed the first one.
  const id = await spawn({
    module: moduleId,
    scheduler: SCHEDULER,
    signer: twin.wallet.signer,
    tags: tags(["App-Name", "aos"], ["Name", "twins"], ["aos-Version", "2.0.16"]),
  });
  await pause(PAUSE_MS);
  assert.equal(await other.boot(), "choice");
  assert.deepEqual(new Set((await processesNamed("twins", twin.wallet.address)).map((node) => node.id)), new Set([twin.id, id]));
});

await step("--list shows the processes of the wallet", async () => {
  const list = await processesOf(mine.address);
  assert.deepEqual(list.map((node) => [node.id, tagOf(node, "Name"), tagOf(node, "aos-Version"), node.owner.address]), [
    [alice.id, "alice", "2.0.16", mine.address],
  ]);
});

await step("--data with On-Boot evaluates a file before the first line", async () => {
  const booted = new Console("booted", mine, { data: "Loaded = 'yes'", more: [["On-Boot", "Data"]] });
  await booted.boot();
  assert.equal((await booted.line("Loaded")).text, "yes");
});

await step("--run evaluates one line", async () => {
  const answer = await alice.send("return 1");
  assert.equal(shown(answer), "1");
  assert.equal(answer.Error, undefined);
});

// ---- evaluating

await step("a line shows its value and the next prompt", async () => {
  assert.equal((await alice.line("1 + 1")).text, "2");
  assert.equal((await alice.line("Owner")).text, alice.wallet.address);
  assert.match(plain(alice.prompt), /alice@aos/);
  assert.match((await alice.line("{ a = 1 }")).text, /a = 1/);
});

await step("what is printed is the value of the line", async () => {
  assert.match((await alice.line("print('to the screen')")).text, /to the screen/);
});

await step("an error names the line of the code", async () => {
  const { error } = await alice.line("local a = 1\nlocal b = nil\nreturn a + b");
  assert.match(error, /\[string "[^"]*"\]:3:/);
  assert.match((await alice.line("1 +")).error, /\[string "[^"]*"\]:\d+:/);
  assert.equal((await alice.line("'still here'")).text, "still here");
});

await step(".dryrun changes nothing", async () => {
  await alice.line("Kept = 'before'");
  assert.equal((await alice.try("Kept = 'after' return Kept")).text, "after");
  assert.equal((await alice.try("return Kept")).text, "before");
});

await step(".load, .load-blueprint and .update are one large line", async () => {
  const functions = Array.from({ length: 2_000 }, (_, n) => `function Blueprint${n}(x) return x + ${n} end -- ${"padding ".repeat(5)}`);
  const file = `${functions.join("\n")}\nBlueprintLoaded = ${functions.length}`;
  assert.ok(file.length > 150_000);
  assert.equal((await alice.line(file)).error, undefined);
  assert.equal((await alice.line("Blueprint1999(BlueprintLoaded)")).text, "3999");
});

await step("lines sent one after the other keep their order", async () => {
  await alice.line("Order = {}");
  for (const letter of "abcde") await message({ process: alice.id, signer: alice.wallet.signer, data: `table.insert(Order, "${letter}")`, tags: tags(["Action", "Eval"]) });
  assert.equal((await alice.line("table.concat(Order)")).text, "abcde");
});

// ---- the live feed

const bob = new Console("bob", another);
await needed("a second process starts", async () => {
  await bob.boot();
  await bob.connect();
  return true;
});

await step("what another process sends is trusted, handled and printed within four seconds", async () => {
  await alice.line(`Handlers.add("greet", "Greet", function (msg) print("greeted by " .. msg.From .. " with " .. msg.Data) end)`);
  await alice.look();
  await bob.line(`Send({ Target = "${alice.id}", Action = "Greet", Data = "hello" })`);
  const took = await alice.until(/greeted by .* with hello/);
  assert.ok(took < 4_000, `${took} ms`);
  assert.ok(alice.printed.at(-1).includes(bob.id));
});

await step("what no handler takes goes into the inbox, says so, and changes the prompt", async () => {
  await bob.line(`Send({ Target = "${alice.id}", Action = "Unheard", Data = "anybody?" })`);
  await alice.until(/New Message From .*Unheard/);
  assert.equal((await alice.line("Inbox[#Inbox].Data")).text, "anybody?");
});

await step("nothing is printed twice, also by a console that is started again", async () => {
  for (let n = 1; n <= 3; n += 1) await bob.line(`Send({ Target = "${alice.id}", Action = "Greet", Data = "number-${n};" })`);
  await alice.until(/number-3/);
  const again = new Console("alice", mine);
  await again.boot();
  // The newest five come newest first; the next look begins behind the oldest of them and gets the others again.
  await again.until(/number-3/);
  for (let looks = 0; looks < 3; looks += 1) await again.look();
  await bob.line(`Send({ Target = "${alice.id}", Action = "Greet", Data = "number-4;" })`);
  for (const screen of [alice, again]) {
    await screen.until(/number-4/);
    await screen.look();
    for (let n = 1; n <= 4; n += 1) {
      const times = screen.printed.filter((text) => text.includes(`number-${n};`)).length;
      assert.ok(times === 1 || (screen === again && times === 0 && n < 3), `number-${n} stands there ${times} times: ${JSON.stringify(screen.printed)}`);
    }
  }
});

await step("when nothing is new, the feed gets nothing and keeps its cursor", async () => {
  await alice.look();
  const { cursor } = alice;
  assert.equal(await alice.look(), 0);
  assert.equal(alice.cursor, cursor);
});

await step("many results between two looks come in one page and in order", async () => {
  const quiet = new Console("many", mine);
  await quiet.boot();
  await quiet.connect();
  await quiet.line(`Handlers.add("count", "Count", function (msg) print("count " .. msg.Data) end)`);
  await quiet.look();
  await bob.line(`for n = 1, 40 do Send({ Target = "${quiet.id}", Action = "Count", Data = string.format("%02d", n) }) end`);
  await quiet.until(/count 40/);
  // Pushes of one result may be scheduled in any order, so only that all are there once and as they were evaluated.
  const begun = performance.now();
  while (quiet.printed.length < 40 && performance.now() - begun < DEADLINE_MS) {
    await pause(100);
    await quiet.look();
  }
  const counted = quiet.printed.filter((text) => text.startsWith("count ")).map((text) => text.trim());
  assert.deepEqual([...counted].sort(), Array.from({ length: 40 }, (_, n) => `count ${String(n + 1).padStart(2, "0")}`));
});

await step("a process that trusts only the public messenger refuses what the local one pushes, and says so", async () => {
  const wary = new Console("wary", mine, { trusting: "" });
  await wary.boot();
  await wary.connect();
  await wary.look();
  await bob.line(`Send({ Target = "${wary.id}", Action = "Greet", Data = "psst" })`);
  await wary.until(/not trusted/i);
  // The remedy that the documents give.
  await wary.line(`table.insert(ao.authorities, "${AUTHORITY}")`);
  await bob.line(`Send({ Target = "${wary.id}", Action = "Greet", Data = "psst" })`);
  await wary.until(/New Message From .*Greet/);
});

// ---- crons

await step("--cron and a monitor make the process act on its own, and the feed shows it", async () => {
  const clock = new Console("clock", mine, { cron: "1-second" });
  await clock.boot();
  await clock.connect();
  await clock.line(`Ticks = 0 Handlers.add("tick", "Cron", function (msg) Ticks = Ticks + 1 print("tick " .. Ticks) end)`);
  await clock.look();
  assert.match(await monitor({ process: clock.id, signer: clock.wallet.signer }), /^[\w-]{43}$/);
  await clock.until(/tick 3/);
  const numbers = clock.printed.map((text) => Number(/tick (\d+)/.exec(text)?.[1])).filter(Boolean);
  assert.deepEqual(numbers, [...new Set(numbers)].sort((one, other) => one - other), "each once and in order");
  assert.match(await unmonitor({ process: clock.id, signer: clock.wallet.signer }), /^[\w-]{43}$/);
});

finish();
