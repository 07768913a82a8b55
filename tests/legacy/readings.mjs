// Tells which path it read: the target as it came, a line end, and the path that it would serve.
import { createServer } from "node:http";

const decoded = (path) =>
  Buffer.from(path.replace(/%([0-9a-f]{2})/gi, (_, digits) => String.fromCharCode(parseInt(digits, 16))), "latin1");

const server = createServer((request, response) => {
  const { pathname } = new URL(request.url, "http://localhost");
  response.setHeader("Content-Type", "text/plain");
  response.end(Buffer.concat([Buffer.from(`${request.url}\n`, "latin1"), decoded(pathname)]));
});
server.listen(0, "127.0.0.1", () => console.log("listening on", server.address().port));
