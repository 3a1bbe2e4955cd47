// The data that each call finds. Its keys have a common tag, so that all are on one node.
const { createHash } = require("node:crypto");

const k = (name) => `{t}${name}`;
exports.k = k;
exports.LUA = "return {KEYS[1], ARGV[1], 3, false}";
exports.LUA_SHA = createHash("sha1").update(exports.LUA).digest("hex");
exports.LIBRARY = `#!lua name=conformance
redis.register_function{function_name='answer', flags={'no-writes'},
  callback=function(keys, args) return {keys[1], args[1], 42} end}`;

// The commands that make it, and before them those that remove what was there.
exports.SEED = [
  ["FLUSHALL"],
  ["ACL", "DELUSER", "nobody"], // refused by the proxy, which has not made one either
  ["SCRIPT", "FLUSH"],
  ["FUNCTION", "FLUSH"],
  ["SCRIPT", "LOAD", exports.LUA],
  ["FUNCTION", "LOAD", exports.LIBRARY],
  ["SET", k("text"), "hello world"],
  ["SET", k("number"), "10"],
  ["SET", k("dated"), "until", "EXAT", "4102444800"],
  ["SET", k("lcs1"), "ohmytext"],
  ["SET", k("lcs2"), "mynewtext"],
  ["HSET", k("hash"), "one", "1", "two", "2"],
  ["RPUSH", k("list"), "a", "b", "c"],
  ["RPUSH", k("list2"), "x", "y"],
  ["RPUSH", k("numbers"), "3", "1", "2"],
  ["SADD", k("set"), "a", "b", "c"],
  ["SADD", k("set2"), "b", "c", "d"],
  ["ZADD", k("zset"), "1", "a", "2.5", "b", "3", "c"],
  ["ZADD", k("zset2"), "1", "b", "4", "d"],
  ["XADD", k("stream"), "1-1", "field", "value"],
  ["XADD", k("stream"), "2-1", "field", "other"],
  ["XGROUP", "CREATE", k("stream"), "group", "0"],
  ["XREADGROUP", "GROUP", "group", "consumer", "COUNT", "1", "STREAMS", k("stream"), ">"],
  ["GEOADD", k("geo"), "13.361389", "38.115556", "Palermo", "15.087269", "37.502669", "Catania"],
  ["PFADD", k("hll"), "a", "b", "c"],
  ["PFADD", k("hll2"), "c", "d"],
  ["VADD", k("vector"), "VALUES", "3", "1", "0.5", "0", "first"],
  ["VADD", k("vector"), "VALUES", "3", "0", "1", "0.5", "second"],
];

// How a value of each type is read, to see what a call has left behind.
exports.READ = {
  string: (key) => ["GET", key],
  hash: (key) => ["HGETALL", key],
  list: (key) => ["LRANGE", key, "0", "-1"],
  set: (key) => ["SMEMBERS", key],
  zset: (key) => ["ZRANGE", key, "0", "-1", "WITHSCORES"],
  stream: (key) => ["XRANGE", key, "-", "+"],
};
