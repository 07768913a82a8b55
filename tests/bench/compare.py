#!/usr/bin/env python3
"""Measures what HTTPS proxies cost: the CPU time of their own processes per request.

Targets take turns in every round, so that a machine whose speed drifts falls on all of them alike.
A figure is a median over rounds; a ratio is formed inside each round, against a reference, and
its median is what to quote. This file starts no program but the load generators: `run` does the rest.

By hand: compare.py [--rounds N] [--kinds h1,h2] [--cookie NAME=VALUE] NAME=PID[+PID...]=https://127.0.0.1:PORT ...
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import signin

LOAD_CPU = 1


@dataclass(frozen=True)
class Kind:
    """One kind of load."""

    name: str
    title: str
    path: str
    generator: str
    connections: int
    streams: int = 1
    close: bool = False

    def command(self, url, cookie, seconds):
        """The load generator's command line."""
        command = ["taskset", "-c", str(LOAD_CPU), self.generator]
        if self.generator == "wrk":
            command += ["-t1", "-c", str(self.connections), "-d", f"{seconds}s"]
        else:
            command += ["-D", str(seconds), "-c", str(self.connections), "-m", str(self.streams)]
        command += ["-H", f"User-Agent: {signin.USER_AGENT}"]
        if cookie:
            command += ["-H", f"Cookie: {cookie}"]
        if self.close:
            command += ["-H", "Connection: close"]
        return [*command, url.rstrip("/") + self.path]


KINDS = {
    kind.name: kind
    for kind in (
        Kind("h1", "HTTP/1.1, 64 connections kept alive", "/", "wrk", 64),
        Kind("h2", "HTTP/2, 16 connections of 16 streams", "/", "h2load", 16, streams=16),
        Kind("hs", "a new TLS connection for each request", "/", "wrk", 32, close=True),
        Kind("big", "1 MiB bodies over HTTP/1.1", "/1m.bin", "wrk", 16),
    )
}


@dataclass(frozen=True)
class Target:
    """A running proxy: the processes whose time is its own (with their descendants), and what is asked of it."""

    name: str
    pids: tuple
    url: str
    cookie: str = None


@dataclass(frozen=True)
class Answered:
    """What a load generator saw."""

    requests: int
    per_second: float
    failed: int


@dataclass
class Series:
    """The rounds of one target under one kind of load."""

    micros: list = field(default_factory=list)
    per_second: list = field(default_factory=list)
    failed: int = 0

    def add(self, micros, answered):
        """Keeps one round."""
        self.micros.append(micros)
        self.per_second.append(answered.per_second)
        self.failed += answered.failed


class LoadError(Exception):
    """A load generator did not say what it measured."""


def family(pid):
    """The process and all its descendants."""
    children = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The command in parentheses may hold anything, so the fields are counted from its end.
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], [])
    return found


def cpu_nanoseconds(pids):
    """CPU time that processes and their descendants have spent so far."""
    everyone = [process for pid in pids for process in family(pid)]
    return sum(max(nanoseconds_of_threads(process), nanoseconds_of_process(process)) for process in everyone)


def nanoseconds_of_threads(pid):
    """The exact time of the threads that live; those that ended are missing."""
    total = 0
    for thread in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            total += int(thread.read_text().split()[0])
        except (OSError, IndexError):
            continue
    return total


def nanoseconds_of_process(pid):
    """The time with that of threads that ended, rounded down to the clock's ticks (10 ms)."""
    try:
        user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    except (OSError, ValueError):
        return 0
    return (int(user) + int(system)) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def number(pattern, text, default=None):
    """The number that the pattern's group holds in the text."""
    match = re.search(pattern, text)
    if match:
        return float(match.group(1))
    if default is None:
        raise LoadError(f"no `{pattern}` in the load generator's output:\n{text}")
    return default


def read_wrk(text):
    """The figures in wrk's output. Answers that are no 2xx or 3xx, and broken connections, count as failed."""
    failed = number(r"Non-2xx or 3xx responses: (\d+)", text, 0)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    if broken:
        failed += sum(int(count) for count in broken.groups())
    return Answered(
        int(number(r"(\d+) requests in", text)), number(r"Requests/sec:\s+([\d.]+)", text), int(failed)
    )


def read_h2load(text):
    """The figures in h2load's output. A request still under way at the end counts neither way."""
    answered = int(number(r"requests: .* (\d+) succeeded", text))
    failed = int(number(r"requests: .* (\d+) failed", text))
    other = re.search(r"status codes: \d+ 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
    failed += sum(int(count) for count in other.groups()) if other else 0
    return Answered(answered, number(r"finished in [^,]+, ([\d.]+) req/s", text), failed)


def load(kind, target, seconds):
    """Runs one load and returns what it saw."""
    command = kind.command(target.url, target.cookie, seconds)
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=False)
    if done.returncode:
        raise LoadError(f"`{kind.generator}` ended with {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
    return read(kind, done.stdout)


def read(kind, text):
    """The figures in what a load generator printed."""
    return read_wrk(text) if kind.generator == "wrk" else read_h2load(text)


def measure(target, kind, seconds):
    """One turn of one target: CPU microseconds per request, and what the generator saw."""
    before = cpu_nanoseconds(target.pids)
    answered = load(kind, target, seconds)
    spent = cpu_nanoseconds(target.pids) - before
    return spent / 1000 / max(answered.requests, 1), answered


def compare(targets, kind, rounds, seconds, say=lambda text: None):
    """Lets the targets take turns. The first round warms up and is thrown away."""
    series = {target.name: Series() for target in targets}
    for turn in range(rounds + 1):
        for target in targets:
            micros, answered = measure(target, kind, seconds)
            say(f"{kind.name} round {turn}/{rounds} {target.name}: {micros:.1f} us, {answered.per_second:.0f}/s")
            if turn:
                series[target.name].add(micros, answered)
    return series


def ratios(own, reference):
    """What one target spent a request as part of what another spent, round by round."""
    return [mine / other for mine, other in zip(own.micros, reference.micros, strict=True)]


def table(kind, series, references=()):
    """The result as Markdown: each target beside the first, and beside the other references."""
    first, *_ = series
    others = [name for name in references if name != first]
    titles = ["target", "CPU µs a request (median)", "lowest to highest round", f"of {first} (median)", "lowest to highest round"]
    titles += [f"of {name}" for name in others] + ["requests/s (median)", "failed"]
    lines = [f"**{kind.title}** (`{kind.name}`)", "", f"| {' | '.join(titles)} |", "|---|" + "--:|" * (len(titles) - 1)]
    for name, rounds in series.items():
        parts = ratios(rounds, series[first])
        cells = [name, f"{statistics.median(rounds.micros):.1f}", f"{min(rounds.micros):.1f} to {max(rounds.micros):.1f}"]
        cells += [f"{statistics.median(parts):.2f}", f"{min(parts):.2f} to {max(parts):.2f}"]
        cells += [f"{statistics.median(ratios(rounds, series[other])):.2f}" for other in others]
        cells += [f"{statistics.median(rounds.per_second):.0f}", str(rounds.failed)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def chosen_kinds(text):
    """The kinds named in a list with commas."""
    unknown = [name for name in text.split(",") if name not in KINDS]
    if unknown:
        raise argparse.ArgumentTypeError(f"no kind `{unknown[0]}`; there are {', '.join(KINDS)}")
    return [KINDS[name] for name in text.split(",")]


def target_argument(text):
    """A target from `NAME=PID=URL`; several processes are joined by `+`."""
    try:
        name, pids, url = text.split("=", 2)
        return Target(name, tuple(int(pid) for pid in pids.split("+")), url)
    except ValueError:
        raise argparse.ArgumentTypeError(f"`{text}` is not NAME=PID=URL") from None


def add_options(parser):
    """The options that `run` shares."""
    parser.add_argument("--rounds", type=int, default=7, help="measured rounds, after one that warms up (default 7)")
    parser.add_argument("--seconds", type=int, default=2, help="length of one turn (default 2)")
    parser.add_argument("--kinds", type=chosen_kinds, default=list(KINDS.values()), help="of h1,h2,hs,big (default all)")


def main():
    """Compares programs that already run."""
    parser = argparse.ArgumentParser(description="compare the CPU cost of running HTTPS proxies")
    add_options(parser)
    parser.add_argument("--cookie", help="sent with every request, to every target")
    parser.add_argument("targets", nargs="+", type=target_argument, metavar="NAME=PID=URL")
    options = parser.parse_args()
    failed = 0
    targets = [replace(target, cookie=options.cookie) for target in options.targets]
    for kind in options.kinds:
        series = compare(targets, kind, options.rounds, options.seconds)
        print(table(kind, series) + "\n", flush=True)
        failed += sum(rounds.failed for rounds in series.values())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
