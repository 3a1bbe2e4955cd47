// Usage: node node-redis.cjs LIBRARY PORT PREFIX
// Talks to the server on PORT as an application does, with the library's defaults, and prints what it got.
const { createClient, RESP_TYPES } = require(process.argv[2]);
const { keysOf, print, refusals } = require("./report.cjs");

async function main() {
  const client = createClient({ url: `redis://127.0.0.1:${process.argv[3]}` });
  client.on("error", (error) => print({ failed: error.message }));
  await client.connect();
  const keys = keysOf(process.argv[4], 40);
  const [string, counter, hash, scores, members, list] = keysOf(`${process.argv[4]}:type`, 6);
  const got = {};

  got.set = await client.set(string, "value", { EX: 1000 });
  got.get = await client.get(string);
  got.ttl = await client.ttl(string);
  got.nothing = await client.get(`${string}:none`);
  const binary = Buffer.from([0, 13, 10, 255, 128]);
  await client.set(string, binary);
  got.binary = await client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer }).get(string);
  await client.set(string, "x".repeat(200000));
  got.large = (await client.get(string)).length;
  got.counted = [await client.incr(counter), await client.incrByFloat(counter, 0.25)];

  got.hset = await client.hSet(hash, { name: "overlord", size: 3 });
  got.hgetall = await client.hGetAll(hash);
  got.hmget = await client.hmGet(hash, ["name", "none"]);

  got.zadd = await client.zAdd(scores, [
    { score: 0.1, value: "a" },
    { score: 1e300, value: "b" },
    { score: -Infinity, value: "c" },
  ]);
  got.zrange = await client.zRangeWithScores(scores, 0, -1);
  got.zscore = [await client.zScore(scores, "a"), await client.zScore(scores, "none")];
  got.zincrby = await client.zIncrBy(scores, 1.25, "a");

  got.sadd = await client.sAdd(members, ["one", "two", "two"]);
  got.smembers = [...(await client.sMembers(members))].sort();
  got.sismember = [await client.sIsMember(members, "one"), await client.sIsMember(members, "no")];
  got.list = [await client.rPush(list, ["a", "b", "c"]), await client.lRange(list, 0, -1)];

  got.mset = await client.mSet(keys.map((key, i) => [key, String(i)]));
  got.mget = await client.mGet([...keys, keys[0], `${keys[0]}:none`]);
  got.exists = await client.exists(keys);
  got.del = await client.del(keys.slice(1));
  got.left = await client.mGet(keys);

  const pipeline = client.multi();
  keys.forEach((key, i) => pipeline.set(key, `p${i}`).get(key).hIncrBy(hash, "size", 1));
  got.pipeline = await pipeline.execAsPipeline();
  got.together = await Promise.all(keys.map((key) => client.get(key)));
  got.unlink = await client.unlink([...keys, string, counter, hash, scores, members, list]);
  got.wrong = await refusals({ unknown: () => client.sendCommand(["NOSUCH", "a"]) });

  const refused = await refusals({
    keyspace: () => client.dbSize(),
    blocking: () => client.blPop(list, 1),
    transaction: () => client.multi().ping().exec(),
    subscription: () => client.subscribe("news", () => {}),
  });
  const after = await refusals({ exists: () => client.exists(list) });
  await client.close();
  print({ got, refused, after });
}

main();
