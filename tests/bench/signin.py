"""Signs in as a browser does: reads the login page, fills its form, keeps the cookies."""

import http.client
import urllib.parse
from html.parser import HTMLParser
from http.cookies import SimpleCookie

LOGIN_PATH = "/.vestibule/login"
SESSION_COOKIE = "__Host-vestibule"
# A session is bound to its browser, so the load generators call themselves the same.
USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"


class SignInError(Exception):
    """The gateway did not open a session."""


class LoginForm(HTMLParser):
    """The first form of a page that asks for a password."""

    def __init__(self, page):
        super().__init__()
        self.action, self.fields, self.done = None, [], False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        """Collects the form's address and its fields."""
        attributes = dict(attributes)
        if self.done:
            return
        if tag == "form":
            self.action, self.fields = attributes.get("action") or "", []
        elif tag == "input" and attributes.get("name"):
            self.fields.append((attributes["name"], attributes.get("type", "text"), attributes.get("value") or ""))

    def handle_endtag(self, tag):
        """The form is whole if it asked for a password."""
        if tag == "form" and any(kind == "password" for _, kind, _ in self.fields):
            self.done = True

    def filled(self, user, password):
        """The form's fields as a browser would send them, with no box ticked."""
        typed = {"password": password, "text": user}
        kept = [field for field in self.fields if field[1] in ("hidden", *typed)]
        return {name: typed.get(kind, value) for name, kind, value in kept}


def session_cookie(port, trust, user, password):
    """`NAME=VALUE` of a session opened through the login page."""
    jar = SimpleCookie()
    status, page = ask(port, trust, jar, "GET", LOGIN_PATH)
    form = LoginForm(page)
    if status != 200 or not form.done:
        raise SignInError(f"no login form at {LOGIN_PATH} (status {status})")
    action = urllib.parse.urljoin(LOGIN_PATH, form.action or LOGIN_PATH)
    status, page = ask(port, trust, jar, "POST", action, form.filled(user, password))
    if status != 303 or SESSION_COOKIE not in jar:
        raise SignInError(f"the login was answered with {status} and {'a' if SESSION_COOKIE in jar else 'no'} session cookie")
    return f"{SESSION_COOKIE}={jar[SESSION_COOKIE].value}"


def ask(port, trust, jar, method, path, fields=None):
    """One request with the jar's cookies; cookies that come back go into the jar."""
    origin = f"https://localhost:{port}"
    headers = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "same-origin", "User-Agent": USER_AGENT}
    if jar:
        headers["Cookie"] = "; ".join(f"{name}={morsel.value}" for name, morsel in jar.items())
    body = None
    if fields is not None:
        body = urllib.parse.urlencode(fields)
        headers |= {"Content-Type": "application/x-www-form-urlencoded", "Origin": origin, "Referer": origin + path}
    connection = http.client.HTTPSConnection("localhost", port, timeout=20, context=trust)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        for line in response.headers.get_all("Set-Cookie", []):
            jar.load(line)
        return response.status, response.read().decode("utf-8", "replace")
    finally:
        connection.close()
