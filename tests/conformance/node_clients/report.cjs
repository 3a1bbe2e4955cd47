// What the scripts beside this one share: how calls are made one by one, and how what came is printed.
const { READ, SEED } = require("./seed.cjs");

const PATIENCE = 4000; // milliseconds for one call

// The errors within an error: a list in one version of a library, a generator in the next.
const messagesOf = (error) => {
  const found = typeof error.errors === "function" ? error.errors() : error.errors;
  return found ? [...found].map((each) => each.message) : undefined;
};

// What came of a call: its reply, its error, or that there was neither.
const outcomeOf = async (call) => {
  let timer;
  const late = new Promise((resolve) => {
    timer = setTimeout(() => resolve({ none: `no answer within ${PATIENCE} ms` }), PATIENCE);
  });
  const came = (async () => {
    try {
      return { reply: await call() };
    } catch (error) {
      const said = error.message || String(error);
      return error instanceof TypeError || error instanceof RangeError
        ? { misused: said } // the library itself, before anything was sent
        : { error: said, lines: messagesOf(error) };
    }
  })();
  const outcome = await Promise.race([came, late]);
  clearTimeout(timer);
  return outcome;
};

// Each call over a connection of its own, on the data of seed.cjs; `ask` sends words over another one.
exports.run = async (calls, { ask, connect, leave }) => {
  const results = {};
  for (const [name, call] of Object.entries(calls)) {
    await Promise.all(SEED.map((words) => ask(words).catch((error) => error.message)));
    const client = await connect();
    const outcome = await outcomeOf(() => call(client));
    await leave(client);
    const left = {};
    const keys = (await ask(["KEYS", "*"])).sort();
    const types = await Promise.all(keys.map((key) => ask(["TYPE", key])));
    const values = await Promise.all(
      keys.map((key, i) => (READ[types[i]] ? ask(READ[types[i]](key)) : types[i])),
    );
    keys.forEach((key, i) => (left[key] = values[i]));
    results[name] = { ...outcome, left };
  }
  return results;
};

// One line of JSON. What JSON cannot say becomes text, bytes become hexadecimal.
exports.print = (report) => {
  const plain = (_, value) => {
    if (typeof value === "number" && !Number.isFinite(value)) return String(value);
    if (typeof value === "bigint") return String(value);
    if (value === undefined) return null;
    if (value?.type === "Buffer") return Buffer.from(value.data).toString("hex");
    if (value instanceof Map) return [...value];
    if (value instanceof Set) return [...value];
    if (value instanceof Error) return { error: value.message };
    return value;
  };
  process.stdout.write(JSON.stringify(report, plain) + "\n", () => process.exit(0));
};
