// A cluster client of a library on given ports: with each line on its input it writes and reads all keys, and
// says what it saw. Errors are tried again for a while, as an application does when a node dies.
"use strict";
const { createInterface } = require("node:readline");

const [library, keyCount, ...ports] = process.argv.slice(2);
const KEYS = Array.from({ length: Number(keyCount) }, (_, index) => `${library}:${index}`);
const PATIENCE = 15_000;
const nodes = ports.map((port) => ({ host: "127.0.0.1", port: Number(port) }));

async function ioredis() {
  const { Cluster } = require(library);
  const client = new Cluster(nodes, {
    redisOptions: { connectTimeout: 1000, commandTimeout: 2000 },
    slotsRefreshInterval: 500,
    clusterRetryStrategy: () => 100,
  });
  client.on("error", () => {});
  return { set: (key, value) => client.set(key, value), get: (key) => client.get(key),
    seen: () => client.nodes("master").map((node) => node.options.port), end: () => client.disconnect() };
}

async function nodeRedis() {
  const { createCluster } = require(library);
  const client = createCluster({
    rootNodes: nodes.map((node) => ({ socket: { ...node, connectTimeout: 1000 } })),
  });
  client.on("error", () => {});
  await client.connect();
  return { set: (key, value) => client.set(key, value), get: (key) => client.get(key),
    seen: () => client.masters.map((node) => node.port), end: () => client.destroy() };
}

async function patiently(attempt) {
  const deadline = Date.now() + PATIENCE;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

async function main() {
  const client = await (library.startsWith("ioredis") ? ioredis() : nodeRedis());
  let round = 0;
  for await (const _ of createInterface({ input: process.stdin })) {
    round += 1;
    let wrong = 0;
    for (const key of KEYS) {
      await patiently(() => client.set(key, `${round}-${key}`));
      if ((await patiently(() => client.get(key))) !== `${round}-${key}`) wrong += 1;
    }
    console.log(JSON.stringify({ wrong, ports: [...new Set(client.seen())].sort() }));
  }
  client.end();
  process.exit(0);
}

main().catch((error) => {
  console.log(JSON.stringify({ error: String(error) }));
  process.exit(1);
});
