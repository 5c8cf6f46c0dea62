// A visit of a client with the interface of browsers; see visit.py. `open(url, protocols)` makes the websocket.
function visit(open, { url, protocols, want }) {
  const seen = { opened: false, protocol: "", compressed: false, ponged: null, messages: [] };
  const socket = open(url, protocols);
  socket.addEventListener("open", () => {
    seen.opened = true;
    seen.protocol = socket.protocol;
    // ws has an object there, browsers a text.
    seen.compressed = JSON.stringify(socket.extensions).includes("permessage-deflate");
    if (socket.ping) {
      seen.ponged = false;
      socket.once("pong", () => (seen.ponged = true));
      socket.ping();
    }
  });
  socket.addEventListener("message", ({ data }) => {
    seen.messages.push(data);
    if (seen.messages.length === want) socket.close(1000, "bye");
  });
  socket.addEventListener("error", () => {}); // a close follows
  return new Promise((resolve) => {
    socket.addEventListener("close", ({ code, reason }) => {
      resolve({ ...seen, code, reason: String(reason) });
    });
  });
}
