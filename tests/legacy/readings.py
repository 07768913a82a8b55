"""Tells which path it read: the target as it came, a line end, and the path that it would serve.

    gunicorn readings:app
    python readings.py        (waitress, on a free port)
"""


def app(environ, start_response):
    target = environ.get("RAW_URI") or environ["REQUEST_URI"]
    path = environ.get("SCRIPT_NAME", "") + environ["PATH_INFO"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [target.encode("latin-1") + b"\n" + path.encode("latin-1")]


if __name__ == "__main__":
    from waitress import create_server

    server = create_server(app, listen="127.0.0.1:0")
    print("listening on", server.effective_port, flush=True)
    server.run()
