// Loaded before a server (node -r): its clock is ahead by the milliseconds in the file BINLOG_LATER,
// which may be written at any time; so is the Date of its replies.
"use strict";
const fs = require("fs");
const http = require("http");
const RealDate = Date;

function now() {
  return RealDate.now() + Number(fs.readFileSync(process.env.BINLOG_LATER, "utf8"));
}

global.Date = class extends RealDate {
  constructor(...args) {
    super(...(args.length ? args : [now()]));
  }

  static now() {
    return now();
  }
};

const writeHead = http.ServerResponse.prototype.writeHead;
http.ServerResponse.prototype.writeHead = function (...args) {
  this.setHeader("Date", new RealDate(now()).toUTCString());
  return writeHead.apply(this, args);
};
