// Sets the published @permaweb/ao-loader up as the reference compute unit does.

import { readFileSync } from "node:fs";
import AoLoader from "@permaweb/ao-loader";

export const load = (moduleFile, format) =>
  AoLoader(readFileSync(moduleFile), {
    format,
    inputEncoding: "JSON-1",
    outputEncoding: "JSON-1",
    memoryLimit: "1073741824",
    computeLimit: "9000000000000",
    extensions: [],
  });
