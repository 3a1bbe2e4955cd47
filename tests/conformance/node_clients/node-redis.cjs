// Usage: node node-redis.cjs LIBRARY PORT RESP
// Calls every command function that the library has, each on the same data, and prints what came.
const { createClient } = require(process.argv[2]);
const { CALLS } = require("./calls.cjs");
const { print, run } = require("./report.cjs");
const { k } = require("./seed.cjs");

const [, , library, port, resp] = process.argv;
const options = {
  url: `redis://127.0.0.1:${port}`,
  RESP: Number(resp),
  unstableResp3: true, // version 5 keeps some commands to itself in RESP3 without
  socket: { reconnectStrategy: false },
};

const connect = async () => {
  const client = createClient(options);
  client.on("error", () => {});
  await client.connect();
  return client;
};
const leave = async (client) => {
  if (client.isOpen) client.destroy();
};

const all = async (iterator) => {
  const found = [];
  for await (const page of iterator) found.push(...(Array.isArray(page) ? page : [page]));
  return found.map((each) => JSON.stringify(each)).sort();
};

// Receives what is published on `channel` after `begin`, and ends with `end`.
const received = async (client, begin, end, publish) => {
  const messages = [];
  const publisher = await connect();
  try {
    await begin((message, channel) => messages.push([channel, message]));
    await publish(publisher);
    for (let turns = 0; turns < 100 && messages.length === 0; turns++) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    await end();
    return [messages, await client.get(k("text"))];
  } finally {
    await leave(publisher);
  }
};

// What is more than one command and its reply.
const SCENARIOS = {
  select: (client) => client.select(0),
  selectAnother: (client) => client.select(1),
  multi: (client) => client.multi().set(k("other"), "1").get(k("other")).lPush(k("text"), "x").exec(),
  multiAsPipeline: (client) => client.multi().set(k("other"), "1").mGet([k("other")]).execAsPipeline(),
  multiWithAMistake: (client) => client.multi().addCommand(["NOSUCH"]).get(k("text")).exec(),
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
  unwatch: async (client) => {
    await client.watch(k("text"));
    return client.unwatch();
  },
  monitor: (client) => client.monitor(() => {}),
  subscribe: (client) =>
    received(
      client,
      (listener) => client.subscribe("news", listener),
      () => client.unsubscribe("news"),
      (publisher) => publisher.publish("news", "text"),
    ),
  pSubscribe: (client) =>
    received(
      client,
      (listener) => client.pSubscribe("new*", listener),
      () => client.pUnsubscribe("new*"),
      (publisher) => publisher.publish("news", "text"),
    ),
  sSubscribe: (client) =>
    received(
      client,
      (listener) => client.sSubscribe("news", listener),
      () => client.sUnsubscribe("news"),
      (publisher) => publisher.sPublish("news", "text"),
    ),
  scanIterator: (client) => all(client.scanIterator({ COUNT: 2 })),
  hScanIterator: (client) => all(client.hScanIterator(k("hash"))),
  hScanValuesIterator: (client) => all(client.hScanValuesIterator(k("hash"))),
  hScanNoValuesIterator: (client) => all(client.hScanNoValuesIterator(k("hash"))),
  sScanIterator: (client) => all(client.sScanIterator(k("set"))),
  zScanIterator: (client) => all(client.zScanIterator(k("zset"))),
  sendCommand: (client) => client.sendCommand(["GET", k("text")]),
  unknownCommand: (client) => client.sendCommand(["NOSUCH", "a"]),
  together: (client) =>
    Promise.all(Array.from({ length: 500 }, (_, i) => client.set(`key:${i}`, `${i}`))).then(() =>
      client.mGet(Array.from({ length: 500 }, (_, i) => `key:${i}`)),
    ),
  duplicate: async (client) => {
    const other = client.duplicate();
    other.on("error", () => {});
    await other.connect();
    const got = await other.get(k("text"));
    await leave(other);
    return got;
  },
  createPool: async (client) => {
    const pool = client.createPool();
    pool.on("error", () => {});
    await pool.connect();
    const got = await Promise.all(Array.from({ length: 20 }, () => pool.incr(k("number"))));
    pool.destroy();
    return got.sort((a, b) => a - b);
  },
  legacy: (client) =>
    new Promise((resolve, reject) => {
      client.legacy().get(k("text"), (error, reply) => (error ? reject(error) : resolve(reply)));
    }),
  reAuthenticate: (client) => client.reAuthenticate({ password: "secret" }),
  reset: async (client) => {
    await client.reset();
    return client.get(k("text"));
  },
  resetIfDirty: async (client) => {
    await client.resetIfDirty();
    return client.get(k("text"));
  },
  quit: (client) => client.quit(),
  QUIT: (client) => client.QUIT(),
  disconnect: (client) => client.disconnect(),
  close: (client) => client.close(),
  destroy: async (client) => client.destroy(),
};

// What these scenarios call beside what they are named for, and what is no command.
const WITHIN = new Set(
  ("unsubscribe pUnsubscribe sUnsubscribe SELECT SUBSCRIBE UNSUBSCRIBE PSUBSCRIBE PUNSUBSCRIBE SSUBSCRIBE" +
    " SUNSUBSCRIBE WATCH UNWATCH MULTI MONITOR connect exec discard").split(" "),
);
const NO_COMMAND = new Set(
  ("constructor Multi clientSideCache options isOpen isReady isPubSubActive socketEpoch isWatching" +
    " isDirtyWatch setDirtyWatch withCommandOptions withTypeMapping withAbortSignal asap" +
    " getPubSubListeners extendPubSubChannelListeners extendPubSubListeners ref unref").split(" "),
);
// Modules, which redis-server has not.
const MODULES = new Set("bf cms cf tDigest topK json ft ts".split(" "));

// The names of the functions of the library's client.
const offered = (client) => {
  const names = new Set();
  const emitter = require("node:events").prototype;
  let each = client;
  while (each && each !== emitter) {
    for (const name of Object.getOwnPropertyNames(each)) names.add(name);
    each = Object.getPrototypeOf(each);
  }
  return [...names].filter((name) => !name.startsWith("_"));
};

const main = async () => {
  const admin = await connect();
  const names = offered(admin);
  // Each function has its command's name for a second one, as in zAdd and ZADD.
  const plain = (name) => name.replace(/[_-]/g, "").toLowerCase();
  const called = new Set(Object.keys(CALLS).map(plain));
  called.add("configresetastat"); // its own slip of the pen
  const known = (name) =>
    name in SCENARIOS || called.has(plain(name)) || WITHIN.has(name) || NO_COMMAND.has(name) || MODULES.has(name);
  const calls = { ...SCENARIOS };
  for (const [name, args] of Object.entries(CALLS)) {
    if (typeof admin[name] === "function") calls[name] = (client) => client[name](...args);
  }
  const results = await run(calls, { ask: (words) => admin.sendCommand(words), connect, leave });
  print({ library, uncalled: names.filter((name) => !known(name)), results });
};

main();
