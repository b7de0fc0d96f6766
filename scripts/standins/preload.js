// Loaded before a server (node -r): whatever it asks for, it listens on this machine only, and
// with BINLOG_TETHERED it ends when whoever started it has gone and its standard input is closed.
"use strict";
const net = require("net");
const listen = net.Server.prototype.listen;

net.Server.prototype.listen = function (...args) {
  const [first, second] = args;
  if (first !== null && typeof first === "object") {
    if (first.port !== undefined) args[0] = { ...first, host: "127.0.0.1" };
  } else if (first === undefined || /^\d+$/.test(String(first))) {
    if (typeof second === "string") args[1] = "127.0.0.1";
    else args.splice(1, 0, "127.0.0.1");
  }
  this.once("listening", () => {
    const place = this.address();
    if (place !== null && typeof place === "object") {
      process.stderr.write(`listening on ${place.address}:${place.port}\n`);
    }
  });
  return listen.apply(this, args);
};

if (process.env.BINLOG_TETHERED) {
  process.stdin.on("end", () => process.exit(0));
  process.stdin.on("error", () => process.exit(0));
  process.stdin.resume();
}
