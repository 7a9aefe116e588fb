// Evaluates messages with the published @permaweb/ao-loader, one instance for all, and writes the memory after each to a file.
//
//   node --experimental-wasm-memory64 loader-memory.mjs <module file> <module format> <log file> <memory file>
//
// The log file is {"messages": [text], "environment": text, "program": path the loader shall think it runs as}. Prints one JSON
// line: for each message its result without memory, or {"thrown": text}. Memory of message 0 goes to <memory file>.0, and so on.

import { readFileSync, writeFileSync } from "node:fs";
import { load } from "./loader.mjs";

const [moduleFile, format, logFile, memoryFile] = process.argv.slice(2);
const { messages, environment, program } = JSON.parse(readFileSync(logFile, "utf8"));
process.argv = [process.argv[0], program];

const handle = await load(moduleFile, format);

const answers = [];
let memory = null;
for (const [index, message] of messages.entries()) {
  try {
    const { Memory, ...result } = await handle(memory, JSON.parse(message), JSON.parse(environment));
    memory = Memory;
    writeFileSync(`${memoryFile}.${index}`, new Uint8Array(Memory.buffer ?? Memory));
    answers.push(result);
  } catch (error) {
    answers.push({ thrown: String(error?.message ?? error) });
  }
}
process.stdout.write(`\n${JSON.stringify(answers)}\n`);
process.exit(0);
