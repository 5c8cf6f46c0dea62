// A Socket.IO server with its Redis adapter, events come from other processes through Redis.
// Run by node; NODE_PATH names the rivals' modules. Arguments: the port of Redis, then topics, each
// with the text of an event, whose message as the adapter publishes it is reported.
"use strict";

const { createServer } = require("http");
const { Server } = require("socket.io");
const { createAdapter } = require("@socket.io/redis-adapter");
const { createClient } = require("redis");

async function main() {
  const [port, ...events] = process.argv.slice(2);
  const publisher = createClient({ socket: { host: "127.0.0.1", port: Number(port) } });
  const subscriber = publisher.duplicate();
  const recorder = publisher.duplicate();
  await Promise.all([publisher.connect(), subscriber.connect(), recorder.connect()]);
  const http = createServer();
  const io = new Server(http, { adapter: createAdapter(publisher, subscriber), serveClient: false });
  io.on("connection", (socket) => socket.join(socket.handshake.query.topics.split(",")));
  let record;
  const listen = (bytes, channel) => record({ channel: channel.toString(), payload: bytes.toString("hex") });
  await recorder.pSubscribe("socket.io#/#*", listen, true);
  const messages = [];
  while (events.length) {
    const [topic, text] = events.splice(0, 2);
    const message = new Promise((resolve) => { record = resolve; });
    io.to(topic).emit("event", JSON.parse(text));
    messages.push(await message);
  }
  await recorder.quit();
  // Messages of its own are skipped, and this one is to be sent again by another process.
  io.of("/").adapter.uid = "another";
  http.listen(0, "127.0.0.1", 1024, () => {
    const version = require("socket.io/package.json").version;
    console.log(JSON.stringify({ port: http.address().port, version, messages }));
  });
}

main();
