// Usage: node ioredis.cjs LIBRARY PORT RESP NODE-REDIS
// Calls every command that the library has, each on the same data, and prints what came. The words of most
// calls are those that the library NODE-REDIS makes of calls.cjs.
const path = require("node:path");
const { Redis } = require(process.argv[2]);
const { CALLS, WORDS } = require("./calls.cjs");
const { print, run } = require("./report.cjs");
const { k, LUA } = require("./seed.cjs");

const [, , library, port, resp, wordsmith] = process.argv;

const connect = async () => {
  const client = new Redis({
    port: Number(port),
    protocol: Number(resp),
    lazyConnect: true,
    retryStrategy: null,
    maxRetriesPerRequest: 0,
  });
  client.on("error", () => {});
  await client.connect();
  return client;
};
const leave = async (client) => client.disconnect();

// The words that node-redis makes of the arguments of one of its functions.
const wordsOf = () => {
  const home = path.dirname(require.resolve(wordsmith, { paths: module.paths.concat(process.env.NODE_PATH) }));
  const client = path.dirname(require.resolve("@redis/client", { paths: [home] }));
  const commands = require(path.join(client, "lib/commands")).default;
  const { BasicCommandParser } = require(path.join(client, "lib/client/parser"));
  const words = {};
  for (const [name, args] of Object.entries(CALLS)) {
    const parser = new BasicCommandParser();
    commands[name].parseCommand(parser, ...args);
    words[name] = [...parser.redisArgs];
  }
  return words;
};

const streamed = (stream) =>
  new Promise((resolve, reject) => {
    const found = [];
    stream.on("data", (page) => found.push(...page));
    stream.on("error", reject);
    stream.on("end", () => resolve(found.sort()));
  });

const received = async (client, event, begin, end, publish) => {
  const messages = [];
  const publisher = await connect();
  client.on(event, (...message) => messages.push(message));
  try {
    const counts = [await begin()];
    await publish(publisher);
    for (let turns = 0; turns < 100 && messages.length === 0; turns++) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    counts.push(await end());
    return [messages, counts, await client.get(k("text"))];
  } finally {
    await leave(publisher);
  }
};

// What is more than one command and its reply.
const SCENARIOS = {
  selectAnother: (client) => client.select(1),
  multi: (client) => client.multi().set(k("other"), "1").get(k("other")).lpush(k("text"), "x").exec(),
  multiWithoutPipeline: async (client) => [
    await client.multi({ pipeline: false }),
    await client.set(k("other"), "1"),
    await client.exec(),
  ],
  discard: async (client) => [
    await client.multi({ pipeline: false }),
    await client.set(k("other"), "1"),
    await client.discard(),
  ],
  multiWithAMistake: (client) => client.multi().call("NOSUCH").get(k("text")).exec(),
  watch: async (client) => {
    await client.watch(k("text"));
    return client.multi().get(k("text")).exec();
  },
  watchOfWhatChanges: async (client) => {
    await client.watch(k("text"));
    const other = await connect();
    await other.set(k("text"), "changed");
    await leave(other);
    return client.multi().get(k("text")).exec();
  },
  unwatch: async (client) => [await client.watch(k("text")), await client.unwatch()],
  monitor: (client) => client.monitor().then((monitor) => monitor.disconnect()),
  subscribe: (client) =>
    received(
      client,
      "message",
      () => client.subscribe("news"),
      () => client.unsubscribe("news"),
      (publisher) => publisher.publish("news", "text"),
    ),
  pSubscribe: (client) =>
    received(
      client,
      "pmessage",
      () => client.psubscribe("new*"),
      () => client.punsubscribe("new*"),
      (publisher) => publisher.publish("news", "text"),
    ),
  sSubscribe: (client) =>
    received(
      client,
      "smessage",
      () => client.ssubscribe("news"),
      () => client.sunsubscribe("news"),
      (publisher) => publisher.spublish("news", "text"),
    ),
  pipeline: (client) => client.pipeline().set(k("other"), "1").get(k("other")).incr(k("text")).exec(),
  together: (client) =>
    Promise.all(Array.from({ length: 500 }, (_, i) => client.set(`key:${i}`, `${i}`))).then(() =>
      client.mget(Array.from({ length: 500 }, (_, i) => `key:${i}`)),
    ),
  scanStream: (client) => streamed(client.scanStream({ count: 2 })),
  hscanStream: (client) => streamed(client.hscanStream(k("hash"))),
  sscanStream: (client) => streamed(client.sscanStream(k("set"))),
  zscanStream: (client) => streamed(client.zscanStream(k("zset"))),
  unknownCommand: (client) => client.call("NOSUCH", "a"),
  getBuffer: (client) => client.getBuffer(k("text")),
  defineCommand: (client) => {
    client.defineCommand("ours", { numberOfKeys: 1, lua: LUA });
    return Promise.all([client.ours(k("text"), "x"), client.ours(k("text"), "y")]);
  },
  duplicate: async (client) => {
    const other = client.duplicate();
    other.on("error", () => {});
    const got = await other.get(k("text"));
    await leave(other);
    return got;
  },
  reset: async (client) => [await client.reset(), await client.get(k("text"))],
  quit: (client) => client.quit(),
};
const WITHIN = new Set("exec unsubscribe punsubscribe sunsubscribe psubscribe ssubscribe".split(" "));
// They make a replica of the connection, or keep the server busy with itself for seconds.
const LEFT_OUT = new Set(["sync", "psync", "pfselftest"]);

const main = async () => {
  const admin = await connect();
  const words = { ...wordsOf(), ...WORDS };
  const calls = { ...SCENARIOS };
  const called = new Set(Object.keys(SCENARIOS).map((name) => name.toLowerCase()));
  for (const [name, [command, ...args]] of Object.entries(words)) {
    const method = String(command).toLowerCase();
    if (typeof admin[method] === "function") {
      called.add(method);
      calls[name] = (client) => client[method](...args);
    }
  }
  const uncalled = admin
    .getBuiltinCommands()
    .filter((name) => !called.has(name) && !WITHIN.has(name) && !LEFT_OUT.has(name));
  const results = await run(calls, { ask: (each) => admin.call(...each), connect, leave });
  print({ library, uncalled, results });
};

main();
