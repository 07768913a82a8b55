"""Connections that ask once and then stay open: TLS 1.3, one after the other, without threads.

Written on sockets, because a library's connection would keep memory and timers of its own for each of thousands.
"""

import contextlib
import resource
import select
import socket
import ssl
import struct

from compare import LoadError
from signin import USER_AGENT

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, GOAWAY = 0, 1, 4, 7
ACK, END_STREAM, END_HEADERS = 1, 1, 4
# The first field of a header block that begins with `:status: 200` from the static table (RFC 7541, appendix A).
STATUS_200 = 0x88


class Held:
    """A number of open connections to one target; leaving the context closes them."""

    def __init__(self, target, trust, protocol="http/1.1"):
        self.target, self.protocol, self.open = target, protocol, []
        self.port = int(target.url.removeprefix("https://localhost:").split("/")[0])
        self.path = "/" + "/".join(target.url.split("/")[3:])
        trust.set_alpn_protocols([protocol])
        self.trust, self.ask = trust, ask_h2 if protocol == "h2" else ask_h1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for connection in self.open:
            connection.close()
        self.open.clear()

    def add(self, count):
        """Opens that many more; each has its answer, a 200, before the next one begins."""
        for _ in range(count):
            plain = socket.create_connection(("127.0.0.1", self.port), 10)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = self.trust.wrap_socket(plain, server_hostname="localhost")
            self.open.append(connection)
            if connection.selected_alpn_protocol() not in (self.protocol, None):
                raise LoadError(f"{self.target.name} chose {connection.selected_alpn_protocol()}, not {self.protocol}")
            self.ask(connection, f"localhost:{self.port}", self.path, self.target.cookie)
        return self

    def lost(self):
        """How many of them the other side has closed since. What else may have come is read and thrown away."""
        readable = select.poll()
        for connection in self.open:
            readable.register(connection, select.POLLIN)
        spoken = {number for number, _ in readable.poll(0)}
        return sum(is_closed(connection) for connection in self.open if connection.fileno() in spoken)


def is_closed(connection):
    """Whether the other side said so; anything else that it sent is read."""
    connection.setblocking(False)
    with contextlib.suppress(ssl.SSLWantReadError):
        while True:
            try:
                if not connection.recv(16384):
                    return True
            except ConnectionError:
                return True
    return False


def raise_file_limit(wanted):
    """Lets this process, and what it starts, open that many files; says so when the system does not."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise LoadError(f"{wanted} open files are needed and only {hard} are allowed; see `ulimit -Hn`")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def ask_h1(connection, host, path, cookie):
    """One GET over HTTP/1.1, with its answer read to the end."""
    cookies = f"Cookie: {cookie}\r\n" if cookie else ""
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {USER_AGENT}\r\n{cookies}\r\n".encode())
    received = b""
    while b"\r\n\r\n" not in received:
        received += receive(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if status.split(" ")[1] != "200" or "content-length" not in fields:
        raise LoadError(f"answered `{status}`")
    while len(body) < int(fields["content-length"]):
        body += receive(connection)


def ask_h2(connection, host, path, cookie):
    """The preface and one GET over HTTP/2, with its answer read to the end."""
    fields = [(":method", "GET"), (":scheme", "https"), (":authority", host), (":path", path), ("user-agent", USER_AGENT)]
    fields += [("cookie", cookie)] if cookie else []
    block = b"".join(literal(name, value) for name, value in fields)
    connection.sendall(PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, END_HEADERS | END_STREAM, 1, block))
    received, ended = b"", False
    while not ended:
        received += receive(connection)
        while len(received) >= 9 and len(received) >= 9 + length(received):
            end = 9 + length(received)
            ended |= take(connection, received[3], received[4], received[9:end])
            received = received[end:]


def take(connection, kind, flags, payload):
    """Does what a frame asks for; whether it was the last one of the answer."""
    if kind == SETTINGS and not flags & ACK:
        connection.sendall(frame(SETTINGS, ACK, 0))
    if kind == GOAWAY:
        raise LoadError("answered with GOAWAY")
    if kind == HEADERS and STATUS_200 not in payload[:4]:
        raise LoadError("answered with another status than 200")
    return kind in (HEADERS, DATA) and bool(flags & END_STREAM)


def length(received):
    """The length of the frame that begins here, without its head."""
    return int.from_bytes(received[:3], "big")


def frame(kind, flags, stream, payload=b""):
    """A frame of HTTP/2."""
    return struct.pack(">IBBI", len(payload), kind, flags, stream)[1:] + payload


def literal(name, value):
    """A header field as HPACK's plainest form: a literal that is not indexed, without Huffman's code."""
    return b"\x00" + text(name) + text(value)


def text(string):
    """A string of HPACK: its length in a prefix of seven bits, then its bytes."""
    octets = string.encode()
    if len(octets) < 127:
        return bytes([len(octets)]) + octets
    head, rest = bytearray([127]), len(octets) - 127
    while rest >= 128:
        head.append(rest % 128 + 128)
        rest //= 128
    return bytes([*head, rest]) + octets


def receive(connection):
    """The next bytes; there must be some."""
    received = connection.recv(16384)
    if not received:
        raise LoadError("the connection was closed before the answer was there")
    return received
