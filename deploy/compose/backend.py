"""A backend that knows nothing of users: it shows whom the gateway says is asking, and every header it was sent."""

import html
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = 8000


class Page(BaseHTTPRequestHandler):
    """One page for every address."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        """Answers with the request's own headers."""
        user = html.escape(self.headers.get("X-User-Id", "nobody"))
        rows = "".join(
            f"<tr><th scope=row>{html.escape(name)}<td>{html.escape(value)}" for name, value in self.headers.items()
        )
        page = f"<!doctype html><html lang=en><title>Backend</title><h1>Hello, {user}</h1><table>{rows}</table>\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)


if __name__ == "__main__":
    ThreadingHTTPServer(("0.0.0.0", PORT), Page).serve_forever()
