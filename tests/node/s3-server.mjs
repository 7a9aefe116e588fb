// An S3-compatible server for the time in which whoever started it keeps its standard input open: node s3-server.mjs <folder>
// Prints the port of 127.0.0.1 that it listens on. It has the bucket `holon` and checks signatures; key and secret are `S3RVER`.
import S3rver from "s3rver";

const server = new S3rver({
  address: "127.0.0.1",
  port: 0,
  silent: true,
  directory: process.argv[2],
  configureBuckets: [{ name: "holon", configs: [] }],
});
const { port } = await server.run();
console.log(port);
process.stdin.on("close", () => process.exit());
process.stdin.resume();
