// A websocket gateway on `ws` with one Redis subscriber: messages on a topic go to its clients.
// Run by node; NODE_PATH names the rivals' modules. Arguments: the port of Redis.
"use strict";

const { WebSocketServer } = require("ws");
const { createClient } = require("redis");

const topics = new Map();

async function main() {
  const redis = createClient({ socket: { host: "127.0.0.1", port: Number(process.argv[2]) } });
  await redis.connect();
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0, backlog: 1024 });
  server.on("connection", async (client, request) => {
    const names = new URL(request.url, "ws://127.0.0.1").searchParams.get("topics").split(",");
    await Promise.all(names.map((topic) => {
      let followed = topics.get(topic);
      if (followed === undefined) {
        const clients = new Set();
        const deliver = (text) => {
          for (const each of clients) each.send(text);
        };
        followed = { clients, subscribed: redis.subscribe(topic, deliver) };
        topics.set(topic, followed);
      }
      followed.clients.add(client);
      client.on("close", () => followed.clients.delete(client));
      return followed.subscribed;
    }));
    client.send("subscribed");
  });
  server.on("listening", () => {
    const version = require("ws/package.json").version;
    console.log(JSON.stringify({ port: server.address().port, version }));
  });
}

main();
