// What the scripts beside this one share: their keys, and how they print what they got.
const { createHash } = require("node:crypto");

// Keys that any hash spreads well.
exports.keysOf = (prefix, count) =>
  Array.from({ length: count }, (_, i) => {
    const name = `${prefix}:${i}`;
    return `${createHash("md5").update(name).digest("hex").slice(0, 8)}:${name}`;
  });

// The message with which each call was refused, or what it gave instead.
exports.refusals = async (calls) => {
  const said = {};
  for (const [name, call] of Object.entries(calls)) {
    said[name] = await call().then(
      (reply) => ({ reply }),
      (error) => error.message,
    );
  }
  return said;
};

// One line of JSON; numbers that JSON cannot say become text, bytes become hexadecimal.
exports.print = (report) => {
  const plain = (_, value) => {
    if (typeof value === "number" && !Number.isFinite(value)) return String(value);
    if (value?.type === "Buffer") return Buffer.from(value.data).toString("hex");
    return value;
  };
  console.log(JSON.stringify(report, plain));
};
