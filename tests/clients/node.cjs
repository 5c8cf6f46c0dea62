// node node.cjs LIBRARY VISIT: makes the visit with ws or undici, and prints what was seen, as JSON.
const { readFileSync } = require("node:fs");
const { join } = require("node:path");

const script = readFileSync(join(__dirname, "visit.js"), "utf8");
const visit = new Function(`${script}; return visit;`)();
const [library, text] = process.argv.slice(2);
const asked = JSON.parse(text);
const offers = {
  usual: true,
  small: { clientMaxWindowBits: 9 },
  unusable: { serverMaxWindowBits: 8 },
};
const { WebSocket } = require(library);
const open = (url, protocols) =>
  library === "ws"
    ? new WebSocket(url, protocols, { perMessageDeflate: offers[asked.offer] })
    : new WebSocket(url, protocols);
visit(open, asked).then((seen) => {
  process.stdout.write(JSON.stringify(seen));
  process.exit();
});
