// Steps of a script that goes on after one that failed. Every step prints one line.

const failed = [];

/** Takes a step; what it gave, or undefined if it failed. */
export async function step(name, run) {
  const begun = performance.now();
  try {
    const value = await run();
    console.log(`ok      ${name} (${Math.round(performance.now() - begun)} ms)`);
    return value;
  } catch (error) {
    failed.push(name);
    console.log(`FAILED  ${name}: ${error?.stack ?? error}`);
    return undefined;
  }
}

/** A step that others stand on: the script ends if it fails. */
export async function needed(name, run) {
  const value = await step(name, run);
  if (value === undefined) process.exit(1);
  return value;
}

/** Ends the script, with 1 when a step has failed. */
export function finish() {
  if (failed.length > 0) console.log(`${failed.length} steps failed: ${failed.join("; ")}`);
  process.exit(failed.length > 0 ? 1 : 0);
}
