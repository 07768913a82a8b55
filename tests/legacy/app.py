"""An ordinary old Flask application that knows nothing of any gateway.

It shows what reached it, keeps its own session and cookies, takes uploads, gives downloads, streams,
and checks the Referer of its form as many old applications do. Start it with

    gunicorn -w 2 -k gthread --threads 8 app:app
"""

import gzip
import hashlib
import json
import secrets
import time
from email.utils import formatdate

from flask import Flask, Response, abort, jsonify, redirect, request, session, stream_with_context
from markupsafe import escape

app = Flask(__name__)
app.secret_key = "legacy-application-development-key"

ALL_METHODS = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS",
    "PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "REPORT", "SEARCH",
]
CHUNK = 64 * 1024
PATTERN = bytes(range(256)) * (CHUNK // 256)
DOCUMENT = b"0123456789" * 1000
CHANGED = 1_600_000_000

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title} - Old wiki</title>
<style>
body {{ font: 16px/1.5 Georgia, serif; max-width: 44em; margin: 2em auto; color: #222; }}
nav a {{ margin-right: 1em; }}
.who {{ background: #eef3e6; padding: .5em 1em; border-left: 4px solid #7a9a4a; }}
</style>
</head>
<body>
<h1>{title}</h1>
<nav aria-label="Pages">
<a href="/">Home</a><a href="/whoami">Who am I</a><a href="/form">Form</a><a href="/redirect">Old address</a>
</nav>
{body}
<script>document.body.dataset.script = "ran";</script>
</body>
</html>
"""


def page(title, body, status=200):
    return Response(PAGE.format(title=escape(title), body=body), status=status, mimetype="text/html")


@app.get("/")
def home():
    return page("Old wiki", """
<p class="who">You are <strong id="user">{user}</strong>.</p>
<form action="/search" method="get">
<label>Search <input name="q"></label> <button>Find</button>
</form>
<p>This page was here long before anybody put a gateway in front of it.</p>
""".format(user=escape(current_user() or "nobody")))


@app.get("/search")
def search():
    return page("Search", "<p>Nothing was found for <q id=\"query\">{}</q>.</p>".format(
        escape(request.query_string.decode("latin-1"))))


@app.get("/page/<path:name>")
def wiki_page(name):
    """A page whose address holds whatever the reader typed; shows the raw target."""
    return page("Page", "<p id=\"target\">{}</p><p class=\"who\">You are <strong id=\"user\">{}</strong>.</p>".format(
        escape(raw_target()), escape(current_user() or "nobody")))


@app.route("/headers", methods=ALL_METHODS, provide_automatic_options=False)
@app.route("/headers/<path:rest>", methods=ALL_METHODS, provide_automatic_options=False)
def headers(rest=""):
    target = raw_target()
    path, _, query = target.partition("?")
    return jsonify(
        method=request.method,
        target=target,
        path=path,
        query=query,
        scheme=request.scheme,
        remote_address=request.environ.get("REMOTE_ADDR"),
        headers=[[name, value] for name, value in request.headers],
    )


@app.get("/whoami")
def whoami():
    return page("Who am I", """
<dl>
<dt>X-User-Id</dt><dd id="x-user-id">{user}</dd>
<dt>Remote-User</dt><dd id="remote-user">{remote}</dd>
<dt>Groups</dt><dd id="groups">{groups}</dd>
</dl>
""".format(
        user=escape(request.headers.get("X-User-Id", "")),
        remote=escape(request.environ.get("REMOTE_USER") or request.headers.get("Remote-User", "")),
        groups=escape(request.headers.get("X-User-Groups", "")),
    ))


@app.get("/cookie/set")
def set_cookies():
    """Two `Set-Cookie` lines of the application's own, with attributes."""
    name = request.args.get("name", "flavour")
    response = jsonify(set=[name, "theme"])
    response.set_cookie(name, "oat meal", max_age=3600, path="/", httponly=True, samesite="Lax")
    response.set_cookie("theme", "dark", path="/", secure=True, expires=formatdate(2_000_000_000, usegmt=True))
    return response


@app.get("/cookie/show")
def show_cookies():
    """The raw `Cookie` header as it arrived; null when there was none."""
    return jsonify(cookie=request.environ.get("HTTP_COOKIE"))


@app.route("/upload", methods=["POST", "PUT"])
def upload():
    digest, count = hashlib.sha256(), 0
    while piece := request.stream.read(CHUNK):
        digest.update(piece)
        count += len(piece)
    return jsonify(bytes=count, sha256=digest.hexdigest(), content_type=request.content_type)


@app.get("/download/<int:size>")
def download(size):
    """`size` bytes of a pattern; `?chunked=1` leaves the length out."""
    def pieces():
        left = size
        while left > 0:
            piece = PATTERN[:min(left, CHUNK)]
            left -= len(piece)
            yield piece

    response = Response(pieces(), mimetype="application/octet-stream")
    if "chunked" not in request.args:
        response.content_length = size
    return response


@app.get("/sse")
def events():
    """`n` server-sent events, `ms` milliseconds apart."""
    count = request.args.get("n", 3, type=int)
    pause = request.args.get("ms", 20, type=int) / 1000

    def stream():
        for number in range(count):
            if number:
                time.sleep(pause)
            yield f"id: {number}\ndata: {json.dumps({'tick': number})}\n\n"

    return Response(stream_with_context(stream()), mimetype="text/event-stream",
                    headers={"Cache-Control": "no-cache"})


@app.route("/slow", methods=["GET", "POST"])
def slow():
    time.sleep(request.args.get("ms", 100, type=int) / 1000)
    return jsonify(slept=True)


@app.get("/status/<int:code>")
def status(code):
    if code < 200 or code > 599:
        abort(404)
    body = "" if code in (204, 304) else f"status {code}\n"
    return Response(body, status=code, mimetype="text/plain")


@app.route("/echo", methods=ALL_METHODS, provide_automatic_options=False)
def echo():
    body = request.get_data()
    response = Response(body, mimetype=request.content_type or "application/octet-stream")
    response.headers["X-Method"] = request.method
    return response


@app.get("/form")
def form():
    session["csrf"] = session.get("csrf") or secrets.token_hex(16)
    return page("Form", """
<form method="post" action="/form">
<input type="hidden" name="csrf" value="{token}">
<label>Note <input name="note"></label> <button>Save note</button>
</form>
<p id="note">{note}</p>
""".format(token=session["csrf"], note=escape(session.get("note", ""))))


@app.post("/form")
def submit_form():
    """Refuses a form without the session's token or, over https, from another site's page."""
    if request.form.get("csrf") != session.get("csrf") or not session.get("csrf"):
        return page("Refused", "<p id=\"reason\">The token does not fit.</p>", status=400)
    if request.is_secure and not (request.referrer or "").startswith(request.host_url):
        return page("Refused", "<p id=\"reason\">The referrer does not match the host.</p>", status=400)
    session["note"] = request.form.get("note", "")
    return redirect("/form", code=303)


@app.get("/redirect")
def old_address():
    return redirect("/whoami", code=302)


@app.get("/redirect/absolute")
def absolute_address():
    """Where the application believes it lives, from the Host header it was sent."""
    return redirect(request.host_url + "whoami", code=301)


@app.get("/etag")
def tagged():
    response = Response(DOCUMENT, mimetype="text/plain")
    response.set_etag(hashlib.sha256(DOCUMENT).hexdigest()[:16])
    response.last_modified = CHANGED
    return response.make_conditional(request)


@app.get("/range")
def ranged():
    response = Response(DOCUMENT, mimetype="text/plain")
    response.set_etag("document-1")
    return response.make_conditional(request, accept_ranges=True, complete_length=len(DOCUMENT))


@app.get("/own-headers")
def own_headers():
    """Security headers of the application's own, which a gateway must not double."""
    response = Response("own\n", mimetype="text/plain")
    response.headers["X-Frame-Options"] = "SAMEORIGIN"
    response.headers["Referrer-Policy"] = "origin"
    response.headers["Content-Security-Policy"] = "default-src 'self'"
    response.headers["Server"] = "legacy/0.1"
    response.headers["X-Powered-By"] = "old wood"
    return response


@app.get("/policy")
def page_with_policy():
    """A page with the content security policy that is asked for."""
    response = Response("<!doctype html><html lang=\"en\"><head><title>Policy</title></head><body><p>Strict.</p></body></html>",
                        mimetype="text/html")
    response.headers["Content-Security-Policy"] = request.args.get("csp", "")
    return response


@app.get("/packed")
def packed_page():
    """A page that is compressed, whatever encodings the client takes."""
    body = "<!doctype html><html lang=\"en\"><head><title>Packed</title></head><body><p id=\"packed\">packed all the same</p></body></html>"
    return Response(gzip.compress(body.encode()), mimetype="text/html", headers={"Content-Encoding": "gzip"})


@app.get("/socket")
def socket_page():
    """A page that talks to the WebSocket server beside this application."""
    return page("Socket", """
<p id="state">waiting</p><p id="said"></p>
<script>
const socket = new WebSocket("wss://" + location.host + "/ws");
socket.onopen = () => { document.getElementById("state").textContent = "open"; socket.send("hello"); };
socket.onmessage = (event) => { document.getElementById("said").textContent = event.data; };
socket.onclose = () => { document.getElementById("state").textContent = "closed"; };
socket.onerror = () => { document.getElementById("state").textContent = "failed"; };
</script>
""")


def current_user():
    return request.headers.get("X-User-Id") or request.environ.get("REMOTE_USER")


def raw_target():
    """The request target as it stood in the request line."""
    return request.environ.get("RAW_URI") or request.environ.get("REQUEST_URI") or request.full_path
