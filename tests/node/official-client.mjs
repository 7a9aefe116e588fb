// Drives a network with the published aoconnect in legacy mode, the way an application does.
//
//   node official-client.mjs <module file> <module format>
//
// The network is told by GATEWAY_URL, UPLOADER_URL, MU_URL, CU_URL, SCHEDULER and AUTHORITY. Every step prints one line; the
// exit code is 1 when one of them failed.

import assert from "node:assert/strict";
import { generateKeyPairSync, createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { connect, createDataItemSigner } from "@permaweb/aoconnect";
import { ArweaveSigner, createData } from "@dha-team/arbundles";
import { finish, needed, step } from "./steps.mjs";

const { GATEWAY_URL, UPLOADER_URL, MU_URL, CU_URL, SCHEDULER, AUTHORITY } = process.env;
const [moduleFile, moduleFormat] = process.argv.slice(2);

const DEADLINE_MS = 60_000;
const POLL_MS = 50;

const { message, spawn, result, results, dryrun, assign, monitor, unmonitor, signMessage, sendSignedMessage } =
  connect({ MODE: "legacy", MU_URL, CU_URL, GATEWAY_URL });

// One wallet and one signer: the published signer allows about a hundred of them a minute.
const wallet = generateKeyPairSync("rsa", { modulusLength: 4096, publicExponent: 65537 }).privateKey.export({ format: "jwk" });
const address = createHash("sha256").update(Buffer.from(wallet.n, "base64url")).digest("base64url");
const signer = createDataItemSigner(wallet);

async function until(what, ask) {
  const end = Date.now() + DEADLINE_MS;
  let last;
  for (;;) {
    try {
      const value = await ask();
      if (value) return value;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (Date.now() > end) throw new Error(`waited ${DEADLINE_MS} ms for ${what}`, { cause: last });
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

const tags = (object) => Object.entries(object).map(([name, value]) => ({ name, value }));
const tagOf = (item, name) => item.Tags.find((tag) => tag.name === name)?.value;
const outputOf = (answer) => answer.Output?.data?.output ?? answer.Output?.data ?? answer.Output;

const newProcess = (more = {}, data) =>
  spawn({ module, scheduler: SCHEDULER, signer, data, tags: tags({ Authority: AUTHORITY, ...more }) });

async function evaluate(process, code) {
  const id = await message({ process, signer, data: code, tags: tags({ Action: "Eval" }) });
  return { id, ...(await result({ process, message: id })) };
}

async function value(process, code) {
  const answer = await evaluate(process, code);
  assert.equal(answer.Error, undefined, `${code} failed: ${answer.Error}`);
  return outputOf(answer);
}

// Reads state without leaving a trace.
async function peek(process, code) {
  const answer = await dryrun({ process, Owner: address, data: code, tags: tags({ Action: "Eval" }) });
  assert.equal(answer.Error, undefined, `${code} failed: ${answer.Error ?? answer.error}`);
  return outputOf(answer);
}

// A dry run may be answered from a state that is up to 100 ms old (spec 05 §6).
function shows(process, code, expected) {
  return until(`${code} to be ${expected}`, async () => {
    const seen = await peek(process, code);
    if (seen !== expected) throw new Error(`it is ${seen}`);
    return true;
  });
}

async function allResults(process, sort, limit) {
  const edges = [];
  let from;
  for (;;) {
    const page = await results({ process, sort, limit, from });
    edges.push(...page.edges);
    if (page.edges.length < limit || edges.length > 1000) return edges;
    from = page.edges.at(-1).cursor;
  }
}

const module = await needed("publish the module", async () => {
  const arweave = new ArweaveSigner(wallet);
  const item = createData(readFileSync(moduleFile), arweave, {
    tags: tags({
      "Data-Protocol": "ao",
      Variant: "ao.TN.1",
      Type: "Module",
      "Module-Format": moduleFormat,
      "Input-Encoding": "JSON-1",
      "Output-Encoding": "JSON-1",
      "Memory-Limit": "1-gb",
      "Compute-Limit": "9000000000000",
    }),
  });
  await item.sign(arweave);
  const answer = await fetch(`${UPLOADER_URL.replace(/\/$/, "")}/tx/arweave`, {
    method: "POST",
    headers: { "content-type": "application/octet-stream" },
    body: item.getRaw(),
  });
  const text = await answer.text();
  assert.ok(answer.ok, `the uploader answered ${answer.status}: ${text}`);
  assert.equal(JSON.parse(text).id, item.id);
  const data = await fetch(`${GATEWAY_URL.replace(/\/$/, "")}/${item.id}`);
  assert.equal(data.status, 200);
  assert.equal((await data.arrayBuffer()).byteLength, readFileSync(moduleFile).length);
  return item.id;
});

const alice = await needed("spawn a process", () => newProcess({ Name: "alice" }));

await step("evaluate an expression", async () => {
  assert.equal(await value(alice, "return 1 + 1"), "2");
});

await step("a result has every member", async () => {
  const answer = await evaluate(alice, "return 'é🚀'");
  for (const name of ["Messages", "Spawns", "Assignments"]) assert.deepEqual(answer[name], [], name);
  assert.equal(outputOf(answer), "é🚀");
  assert.equal(answer.GasUsed, 0);
});

await step("state lives on between messages", async () => {
  await value(alice, "Counter = 41");
  assert.equal(await value(alice, "Counter = Counter + 1 return Counter"), "42");
});

await step("an error leaves the state as it was", async () => {
  const answer = await evaluate(alice, "Counter = 1000 error('boom')");
  assert.match(String(answer.Error), /boom/);
  assert.deepEqual(answer.Messages, []);
  // The 32-bit aos remarks on the message it did not keep before it answers.
  assert.equal((await value(alice, "return Counter")).split("\n").at(-1), "42");
});

await step("code that does not parse is an error", async () => {
  assert.match(String((await evaluate(alice, "return 1 +")).Error), /unexpected symbol/);
});

await step("a handler answers a message to its sender", async () => {
  await value(
    alice,
    `Handlers.add("ping", Handlers.utils.hasMatchingTag("Action", "Ping"), function (msg)
       ao.send({Target = msg.From, Action = "Pong", Data = "pong-" .. msg.Data})
     end)`,
  );
  const id = await message({ process: alice, signer, data: "x", tags: tags({ Action: "Ping" }) });
  const answer = await result({ process: alice, message: id });
  assert.equal(answer.Messages.length, 1);
  const [sent] = answer.Messages;
  assert.deepEqual([sent.Target, sent.Data, tagOf(sent, "Action")], [address, "pong-x", "Pong"]);
  assert.match(sent.Anchor, /^\d{32}$/);
});

await step("data of a message is evaluated once, in order", async () => {
  await value(alice, "Seen = {}");
  await value(alice, `Handlers.add("note", "Note", function (msg) table.insert(Seen, msg.Data) end)`);
  const ids = [];
  for (const data of ["a", "b", "c", "d"]) ids.push(await message({ process: alice, signer, data, tags: tags({ Action: "Note" }) }));
  await result({ process: alice, message: ids.at(-1) });
  await shows(alice, "return table.concat(Seen, ',')", "a,b,c,d");
});

const boot = await step("a process boots from its data", async () => {
  const id = await newProcess({ Name: "boot", "On-Boot": "Data" }, "Booted = 7");
  await shows(id, "return Booted", "7");
  return id;
});

await step("the boot itself has a result", async () => {
  const answer = await result({ process: boot, message: boot });
  assert.equal(answer.Error, undefined);
  assert.ok(Array.isArray(answer.Messages));
});

const bob = await needed("spawn a second process", () => newProcess({ Name: "bob" }));

await step("two processes play ping-pong through the messenger unit", async () => {
  const ROUNDS = 6;
  await value(
    alice,
    `Hits = 0
     Handlers.add("ball", "Ball", function (msg)
       Hits = Hits + 1
       if tonumber(msg.Data) > 0 then
         ao.send({Target = msg.From, Action = "Ball", Data = tostring(tonumber(msg.Data) - 1)})
       end
     end)`,
  );
  await value(
    bob,
    `Hits = 0
     Handlers.add("ball", "Ball", function (msg)
       Hits = Hits + 1
       if tonumber(msg.Data) > 0 then
         ao.send({Target = msg.From, Action = "Ball", Data = tostring(tonumber(msg.Data) - 1)})
       end
     end)`,
  );
  await value(alice, `ao.send({Target = "${bob}", Action = "Ball", Data = "${ROUNDS - 1}"}) return "served"`);
  await until("the ball to come to rest", async () => {
    const hits = [await peek(alice, "return Hits"), await peek(bob, "return Hits")];
    return Number(hits[0]) + Number(hits[1]) === ROUNDS && hits;
  });
  await shows(alice, "return Hits", String(ROUNDS / 2));
  await shows(bob, "return Hits", String(ROUNDS / 2));
});

await step("a process waits for an answer of another", async () => {
  await value(bob, `Handlers.add("ask", "Ask", function (msg) msg.reply({Data = "answer-" .. msg.Data}) end)`);
  await value(alice, `Answer = nil`);
  await evaluate(alice, `Answer = Send({Target = "${bob}", Action = "Ask", Data = "q"}).receive().Data`);
  await shows(alice, "return tostring(Answer)", "answer-q");
});

await step("a process waits for the notice of one that it spawns", async () => {
  await value(alice, `Awaited = nil`);
  await evaluate(
    alice,
    `Awaited = Spawn("${module}", {Tags = {Name = "awaited", Authority = "${AUTHORITY}"}}).receive().Process`,
  );
  const child = await until("the notice that is waited for", async () => {
    const id = await peek(alice, "return tostring(Awaited)");
    return id !== "nil" && id;
  });
  assert.match(child, /^[\w-]{43}$/);
});

await step("a process spawns another and hears its id", async () => {
  await value(
    alice,
    `Handlers.add("spawned", "Spawned", function (msg) Child = msg.Process or msg.Tags.Process ChildRef = msg.Tags.Reference end)
     Spawn("${module}", {Tags = {Name = "child", Authority = "${AUTHORITY}"}})`,
  );
  const child = await until("the Spawned notice", async () => {
    const id = await peek(alice, "return tostring(Child)");
    return id !== "nil" && id;
  });
  assert.match(child, /^[\w-]{43}$/);
  // Its owner is the process that spawned it, so it evaluates what that process sends.
  await value(alice, `Send({Target = "${child}", Action = "Eval", Data = "Born = 'yes'"}) return "sent"`);
  await until("the child to evaluate", async () => {
    const answer = await dryrun({ process: child, Owner: alice, data: "return Born", tags: tags({ Action: "Eval" }) });
    return outputOf(answer) === "yes";
  });
});

await step("an item is assigned to another process", async () => {
  await value(bob, `ao.addAssignable("all", function (msg) return true end)`);
  await value(bob, `Handlers.add("given", "Given", function (msg) Given = msg.Data .. "/" .. msg.Id end)`);
  const item = await message({ process: alice, signer, data: "gift", tags: tags({ Action: "Given" }) });
  const assignment = await until("the item to be on the gateway", () => assign({ process: bob, message: item }));
  assert.match(assignment, /^[\w-]{43}$/);
  const answer = await result({ process: bob, message: assignment });
  assert.equal(answer.Error, undefined);
  await shows(bob, "return tostring(Given)", `gift/${item}`);
});

await step("results page both ways and agree", async () => {
  const up = await allResults(alice, "ASC", 4);
  const down = await allResults(alice, "DESC", 4);
  assert.ok(up.length > 8, `${up.length} results`);
  const cursors = up.map((edge) => edge.cursor);
  assert.equal(new Set(cursors).size, cursors.length, "no cursor twice");
  const whole = await results({ process: alice, sort: "ASC", limit: 1000 });
  assert.deepEqual(whole.edges.map((edge) => edge.cursor), cursors);
  assert.deepEqual(whole.edges.map((edge) => edge.node), up.map((edge) => edge.node));
  // `from` stays the lower bound in descending order: one page holds the newest.
  assert.equal(down[0].cursor.length > 0, true);
  const newest = await results({ process: alice, sort: "DESC", limit: 3 });
  assert.equal(newest.edges.length, 3);
  assert.deepEqual(newest.edges.map((edge) => edge.node), up.slice(-3).reverse().map((edge) => edge.node));
  const tail = await results({ process: alice, from: cursors.at(-3), sort: "ASC" });
  assert.deepEqual(tail.edges.map((edge) => edge.cursor), cursors.slice(-2));
  const head = await results({ process: alice, to: cursors[1], sort: "ASC" });
  assert.deepEqual(head.edges.map((edge) => edge.cursor), cursors.slice(0, 2));
  const ordinates = cursors.map((cursor) => Number(JSON.parse(Buffer.from(cursor, "base64").toString()).ordinate));
  assert.deepEqual(ordinates, [...ordinates].sort((a, b) => a - b));
});

await step("a dry run leaves no trace", async () => {
  await value(alice, "Counter = 5");
  const before = (await results({ process: alice, limit: 1000 })).edges.length;
  await shows(alice, "Counter = Counter + 1 return Counter", "6");
  await shows(alice, "return Counter", "5");
  const sent = await dryrun({ process: alice, data: "y", tags: tags({ Action: "Ping" }) });
  assert.equal(sent.Messages[0].Data, "pong-y");
  assert.equal((await results({ process: alice, limit: 1000 })).edges.length, before);
});

await step("a stranger's Eval is not obeyed", async () => {
  const answer = await dryrun({ process: alice, data: "Counter = 99 return Counter", tags: tags({ Action: "Eval" }) });
  assert.notEqual(outputOf(answer), "99");
});

await step("monitor and unmonitor are answered", async () => {
  assert.match(await monitor({ process: alice, signer }), /^[\w-]{43}$/);
  assert.match(await monitor({ process: alice, signer }), /^[\w-]{43}$/);
  assert.match(await unmonitor({ process: alice, signer }), /^[\w-]{43}$/);
  await assert.rejects(unmonitor({ process: alice, signer }), /404|500/);
});

await step("a monitored process acts on its own", async () => {
  const clock = await newProcess({ Name: "clock", "On-Boot": "Data", "Cron-Interval": "1-second", "Cron-Tag-Action": "Tick" },
    `Ticks = 0 Handlers.add("tick", "Tick", function (msg) Ticks = Ticks + 1 end)`);
  await monitor({ process: clock, signer });
  await until("two ticks", async () => Number(await peek(clock, "return Ticks")) >= 2);
  await unmonitor({ process: clock, signer });
});

await step("a message is signed first and sent later", async () => {
  const signed = await signMessage({ process: alice, signer, data: "Counter = Counter * 2", tags: tags({ Action: "Eval" }) });
  assert.match(signed.id, /^[\w-]{43}$/);
  const id = await sendSignedMessage(signed);
  assert.equal(id, signed.id);
  await result({ process: alice, message: id });
  await shows(alice, "return Counter", "10");
  // Sent again, as after a lost answer, it is still one message.
  await sendSignedMessage(signed).catch(() => {});
  await shows(alice, "return Counter", "10");
});

await step("an anchor and odd tags arrive as they were sent", async () => {
  await value(alice, `Handlers.add("odd", "Odd", function (msg) Odd = msg.Tags["Ünï"] .. "|" .. msg.Anchor .. "|" .. tostring(msg.Tags.Empty) end)`);
  const id = await message({
    process: alice,
    signer,
    anchor: "0".repeat(31) + "7",
    tags: [...tags({ Action: "Odd", "Ünï": "värde", Empty: "" })],
  });
  assert.equal((await result({ process: alice, message: id })).Error, undefined);
  await shows(alice, "return tostring(Odd)", `värde|${"0".repeat(31)}7|`);
});

await step("wrong calls are refused with words", async () => {
  const nobody = Buffer.alloc(32, 7).toString("base64url");
  await assert.rejects(spawn({ module: nobody, scheduler: SCHEDULER, signer, tags: [] }));
  await assert.rejects(message({ process: nobody, signer, tags: tags({ Action: "Ping" }) }), /4\d\d|5\d\d/);
  const answer = await result({ process: nobody, message: nobody });
  assert.equal(typeof answer.error, "string");
  await assert.rejects(spawn({ module, scheduler: nobody, signer, tags: [] }), /4\d\d|5\d\d/);
  await assert.rejects(assign({ process: alice, message: nobody }), /4\d\d|5\d\d/);
});

finish();
