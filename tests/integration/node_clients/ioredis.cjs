// Usage: node ioredis.cjs LIBRARY PORT PREFIX
// Talks to the server on PORT as an application does, with the library's defaults, and prints what it got.
const { Redis } = require(process.argv[2]);
const { keysOf, print, refusals } = require("./report.cjs");

async function main() {
  const client = new Redis(Number(process.argv[3]));
  client.on("error", (error) => print({ failed: error.message }));
  const keys = keysOf(process.argv[4], 40);
  const [string, counter, hash, scores, members, list] = keysOf(`${process.argv[4]}:type`, 6);
  const got = {};

  got.set = await client.set(string, "value", "EX", 1000);
  got.get = await client.get(string);
  got.ttl = await client.ttl(string);
  got.nothing = await client.get(`${string}:none`);
  const binary = Buffer.from([0, 13, 10, 255, 128]);
  await client.set(string, binary);
  got.binary = await client.getBuffer(string);
  await client.set(string, "x".repeat(200000));
  got.large = (await client.get(string)).length;
  got.counted = [await client.incr(counter), await client.incrbyfloat(counter, 0.25)];

  got.hset = await client.hset(hash, { name: "overlord", size: 3 });
  got.hgetall = await client.hgetall(hash);
  got.hmget = await client.hmget(hash, "name", "none");

  got.zadd = await client.zadd(scores, 0.1, "a", 1e300, "b", "-inf", "c");
  got.zrange = await client.zrange(scores, 0, -1, "WITHSCORES");
  got.zscore = [await client.zscore(scores, "a"), await client.zscore(scores, "none")];
  got.zincrby = await client.zincrby(scores, 1.25, "a");

  got.sadd = await client.sadd(members, "one", "two", "two");
  got.smembers = [...(await client.smembers(members))].sort();
  got.sismember = [await client.sismember(members, "one"), await client.sismember(members, "no")];
  got.list = [await client.rpush(list, "a", "b", "c"), await client.lrange(list, 0, -1)];

  got.mset = await client.mset(Object.fromEntries(keys.map((key, i) => [key, i])));
  got.mget = await client.mget(...keys, keys[0], `${keys[0]}:none`);
  got.exists = await client.exists(...keys);
  got.del = await client.del(...keys.slice(1));
  got.left = await client.mget(keys);

  const pipeline = client.pipeline();
  keys.forEach((key, i) => pipeline.set(key, `p${i}`).get(key).hincrby(hash, "size", 1));
  got.pipeline = await pipeline.exec();
  got.together = await Promise.all(keys.map((key) => client.get(key)));
  got.unlink = await client.unlink(...keys, string, counter, hash, scores, members, list);
  got.wrong = await refusals({ unknown: () => client.call("NOSUCH", "a") });

  const refused = await refusals({
    keyspace: () => client.dbsize(),
    blocking: () => client.blpop(list, 1),
    transaction: () => client.multi().exec(),
    subscription: () => client.subscribe("news"),
  });
  const after = await refusals({ exists: () => client.exists(list) });
  await client.quit();
  print({ got, refused, after });
}

main();
