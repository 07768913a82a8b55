#!/usr/bin/env python3
"""Failing logins at a steady rate: names that nobody has, from many addresses of loopback.

A process of its own, started by `latency`; says how many answers of each status it got as a line of JSON. The rate is
kept by the clock, whatever the answers take: no login waits for another one's answer, as long as a connection is free.
"""

import argparse
import asyncio
import collections
import itertools
import json
import ssl
import sys
import urllib.parse

import signin

# An address may fail that often before the gateway answers without looking at the password; ours stay below.
TRIES_PER_ADDRESS = 90
CONNECTIONS = 128


def main():
    """Floods until the time is over."""
    options = arguments()
    answers = asyncio.run(Flood(options).run())
    print(json.dumps(answers))
    return 0


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description="failing logins at a steady rate")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--trust", required=True, help="the certificate as a PEM file")
    parser.add_argument("--rate", type=int, default=200, help="logins a second (default 200)")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--round", type=int, default=0, help="0 to 200; each has its own addresses and names")
    return parser.parse_args()


class Flood:
    """The attempts of one round."""

    def __init__(self, options):
        self.options, self.answers = options, collections.Counter()
        self.trust = ssl.create_default_context(cafile=options.trust)
        self.cookie, self.form = login_form(options.port, self.trust)
        self.names, self.hosts = itertools.count(), itertools.count()
        self.free = asyncio.LifoQueue()

    async def run(self):
        """Starts attempts by the clock until the time is over; how many answers had which status."""
        for _ in range(CONNECTIONS):
            self.free.put_nowait(Line(self))
        clock = asyncio.get_running_loop().time
        start, tasks = clock(), set()
        for number in range(int(self.options.rate * self.options.seconds)):
            await asyncio.sleep(max(0, start + number / self.options.rate - clock()))
            if clock() - start > self.options.seconds:
                break
            if self.free.empty():
                self.answers["none free"] += 1
                continue
            task = asyncio.create_task(self.attempt(self.free.get_nowait()))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        if tasks:
            await asyncio.wait(tasks, timeout=10)
        return self.answers

    async def attempt(self, line):
        """One attempt on a connection that is free again afterwards."""
        try:
            self.answers[str(await line.ask(self.body()))] += 1
        except (OSError, asyncio.IncompleteReadError, ValueError) as problem:
            self.answers[type(problem).__name__] += 1
            line.close()
        self.free.put_nowait(line)

    def body(self):
        """The form, filled for somebody who does not exist."""
        name = f"nobody-{self.options.round}-{next(self.names)}"
        return urllib.parse.urlencode(self.form.filled(name, "not the password of anybody"))

    def address(self):
        """The next address of loopback that is this round's own."""
        number = next(self.hosts)
        return f"127.{self.options.round + 1}.{number // 250}.{number % 250 + 1}"


class Line:
    """A connection that is kept until its address has failed often enough."""

    def __init__(self, flood):
        self.flood, self.left, self.reader, self.writer = flood, 0, None, None

    async def ask(self, body):
        """Posts the form; the status of the answer, which is read to its end."""
        if not self.left:
            await self.open()
        self.left -= 1
        self.writer.write(self.request(body))
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        await self.reader.readexactly(int(head.partition("content-length:")[2].split("\r\n")[0]))
        if "connection: close" in head:
            self.close()
        return int(head.split(" ")[1])

    async def open(self):
        """A new connection from an address that has not failed yet."""
        self.close()
        self.reader, self.writer = await asyncio.open_connection(
            "127.0.0.1", self.flood.options.port, ssl=self.flood.trust, server_hostname="localhost",
            local_addr=(self.flood.address(), 0),
        )
        self.left = TRIES_PER_ADDRESS

    def close(self):
        """Lets the connection go; the next attempt opens another."""
        if self.writer:
            self.writer.close()
        self.left, self.reader, self.writer = 0, None, None

    def request(self, body):
        """The login as a browser posts it."""
        host = f"localhost:{self.flood.options.port}"
        return "\r\n".join([
            f"POST {signin.LOGIN_PATH} HTTP/1.1", f"Host: {host}", f"User-Agent: {signin.USER_AGENT}", "Accept: text/html",
            f"Origin: https://{host}", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: navigate", f"Cookie: {self.flood.cookie}",
            "Content-Type: application/x-www-form-urlencoded", f"Content-Length: {len(body)}", "", body,
        ]).encode()


def login_form(port, trust):
    """The login page's cookies and form, which serve for any number of attempts."""
    jar = signin.SimpleCookie()
    status, page = signin.ask(port, trust, jar, "GET", signin.LOGIN_PATH)
    form = signin.LoginForm(page)
    if status != 200 or not form.done:
        raise signin.SignInError(f"no login form at {signin.LOGIN_PATH} (status {status})")
    return "; ".join(f"{name}={morsel.value}" for name, morsel in jar.items()), form


if __name__ == "__main__":
    sys.exit(main())
