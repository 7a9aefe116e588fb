// Evaluates a log with the published @permaweb/ao-loader and prints, as one JSON line, what each message took and answered.
//
//   node --experimental-wasm-memory64 ao-loader.mjs <module file> <module format> <log file>
//
// The log file is {"messages": [text], "environment": text}. Memory goes in and comes out with every message, as the
// reference compute unit does it.

import { readFileSync } from "node:fs";
import { load } from "./loader.mjs";

const [moduleFile, format, logFile] = process.argv.slice(2);
const { messages, environment } = JSON.parse(readFileSync(logFile, "utf8"));

const handle = await load(moduleFile, format);

const answers = [];
let memory = null;
for (const message of messages) {
  // The loader freezes Date.now.
  const begun = process.hrtime.bigint();
  const result = await handle(memory, JSON.parse(message), JSON.parse(environment));
  const nanoseconds = Number(process.hrtime.bigint() - begun);
  if (result.Error) throw new Error(String(result.Error));
  memory = result.Memory;
  answers.push({ nanoseconds, output: result.Output });
}
process.stdout.write(`${JSON.stringify(answers)}\n`);
process.exit(0);
