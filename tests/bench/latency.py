"""How long requests take at half load, and whether a flood of logins changes that."""

import collections
import json
import math
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import compare
import setting
import sidebyside
from compare import KINDS, LOAD_CPU, LoadError
from marks import Mark, table
from signin import USER_AGENT

LIMIT_OF_NGINX, LIMIT_OF_CALM = 1.5, 2.0
LOGINS_PER_SECOND = 200
# h2load sends for a client at most every 10 ms, so a client must not have to send more often.
MOST_PER_CLIENT = 50
FEWEST_CLIENTS = 64
# The first second of a turn is that of the handshakes, and is not looked at.
LEAD_IN = 1
KEPT_RATE = 0.95


@dataclass(frozen=True)
class Load:
    """Something to measure in each round."""

    title: str
    target: compare.Target
    rate: int
    logins: int = 0


@dataclass
class Figures:
    """The rounds of one load."""

    p50: list = field(default_factory=list)
    p99: list = field(default_factory=list)
    rate: list = field(default_factory=list)
    failed: int = 0


def add_options(parser):
    """Rounds and seconds."""
    parser.add_argument("--rounds", type=int, default=6, help="measured rounds, after one that warms up (default 6)")
    parser.add_argument("--seconds", type=int, default=5, help="length of one turn (default 5)")


def measure(options, stand, binary):
    """Finds out the maxima, then measures at half of them; 1 when any request failed."""
    nginx, gateway = sidebyside.start(["nginx", "vestibule"], stand, binary)
    print(f"{setting.machine()}\n\n{setting.versions(binary, ['nginx', 'wrk', 'h2load'])}", flush=True)
    print(f"Each figure: {options.rounds} rounds of {options.seconds} s, loads in turns, after one round to warm up.")
    half, own_half = (maximum(target, options) // 2 for target in (nginx, gateway))
    loads = [
        Load("nginx, half of its maximum", nginx, half),
        Load("vestibule, the same rate", gateway, half),
        Load("vestibule, half of its own maximum", gateway, own_half),
        Load(f"the same with {LOGINS_PER_SECOND} logins/s", gateway, own_half, LOGINS_PER_SECOND),
    ]
    figures, logins = take_turns(loads, options, stand)
    print("\n" + report(loads, figures) + "\n\n" + table(marks(loads, figures)))
    print("\n" + describe_logins(logins, options))
    failed = sum(rounds.failed for rounds in figures)
    print(f"\nFailed requests: {failed}.")
    return 1 if failed else 0


def maximum(target, options):
    """Requests a second when 64 connections are kept busy: the median of three turns."""
    turns = [compare.measure(target, KINDS["h1"], min(options.seconds, 2))[1].per_second for _ in range(3)]
    setting.say(f"{target.name}: at most {statistics.median(turns):.0f}/s")
    return int(statistics.median(turns))


def take_turns(loads, options, stand):
    """Lets the loads take turns. The first round warms up and is thrown away."""
    figures, logins = [Figures() for _ in loads], collections.Counter()
    for turn in range(options.rounds + 1):
        for load, rounds in zip(loads, figures, strict=True):
            times, failed, answers = one_turn(load, turn, options, stand)
            setting.say(f"round {turn}/{options.rounds} {load.title}: p99 {percentile(times, 99)} us, {failed} failed {answers or ''}")
            if turn:
                rounds.p50.append(percentile(times, 50))
                rounds.p99.append(percentile(times, 99))
                rounds.rate.append(len(times) / options.seconds)
                rounds.failed += failed
                logins.update(answers)
    return figures, logins


def one_turn(load, turn, options, stand):
    """The times of one turn in microseconds, how many requests failed, and what the logins were answered."""
    log = stand.folder / "h2load.log"
    log.unlink(missing_ok=True)
    flood = start_flood(load, turn, options, stand) if load.logins else None
    try:
        run_h2load(load, options.seconds + LEAD_IN, log)
        answers = end_flood(flood) if flood else {}
    finally:
        if flood and flood.poll() is None:
            flood.kill()
            flood.wait()
    return *read_log(log), answers


def run_h2load(load, seconds, log):
    """A constant rate over HTTP/1.1; each client has a share of it and one request under way at most."""
    clients = max(FEWEST_CLIENTS, math.ceil(load.rate / MOST_PER_CLIENT))
    command = ["taskset", "-c", str(LOAD_CPU), "h2load", "--h1", "-t1", "-c", str(clients), "-m1", "-D", str(seconds)]
    command += [f"--rps={load.rate / clients:.3f}", f"--log-file={log}", "-H", f"User-Agent: {USER_AGENT}"]
    command += ["-H", f"Cookie: {load.target.cookie}", load.target.url + "/"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=False)
    if done.returncode:
        raise LoadError(f"`h2load` ended with {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")


def read_log(log):
    """The times of all requests after the lead-in in microseconds, sorted, and how many were not answered with 200."""
    rows = [line.split("\t")[:3] for line in log.read_text().splitlines()]
    if not rows:
        raise LoadError("h2load answered no request")
    begin = min(int(start) for start, _, _ in rows) + LEAD_IN * 1_000_000
    rows = [(status, int(taken)) for start, status, taken in rows if int(start) >= begin]
    return sorted(taken for _, taken in rows), sum(status != "200" for status, _ in rows)


def percentile(times, percent):
    """The smallest time that this part of all stayed within."""
    return times[max(0, math.ceil(len(times) * percent / 100) - 1)]


def start_flood(load, turn, options, stand):
    """Starts failing logins, less urgent than what measures."""
    port = load.target.url.rpartition(":")[2]
    command = ["taskset", "-c", str(LOAD_CPU), "nice", "-n", "5", sys.executable, str(Path(__file__).with_name("flood.py"))]
    command += ["--port", port, "--trust", str(stand.certificate), "--rate", str(load.logins), "--round", str(turn)]
    command += ["--seconds", str(options.seconds + LEAD_IN)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end_flood(flood):
    """Waits for the last answers and reads how many there were of each kind."""
    said, complaint = flood.communicate(timeout=30)
    if flood.returncode:
        raise LoadError(f"the logins ended with {flood.returncode}: {complaint}")
    return json.loads(said)


def report(loads, figures):
    """The times as Markdown."""
    titles = ["load", "requests/s wanted", "had", "p50 µs", "lowest to highest round", "p99 µs", "lowest to highest round", "failed"]
    lines = ["**Time a request takes** (HTTP/1.1)", "", f"| {' | '.join(titles)} |", "|---|" + "--:|" * (len(titles) - 1)]
    for load, rounds in zip(loads, figures, strict=True):
        had = statistics.median(rounds.rate)
        note = "" if had >= KEPT_RATE * load.rate else " (not kept)"
        cells = [load.title, str(load.rate), f"{had:.0f}{note}"]
        for times in (rounds.p50, rounds.p99):
            cells += [f"{statistics.median(times):.0f}", f"{min(times)} to {max(times)}"]
        lines.append(f"| {' | '.join([*cells, str(rounds.failed)])} |")
    return "\n".join(lines)


def marks(loads, figures):
    """Ratios of p99, formed inside each round."""
    nginx, same, own, flooded = figures
    asked = [(1, same, nginx, LIMIT_OF_NGINX, "nginx"), (2, own, nginx, LIMIT_OF_NGINX, "nginx"), (3, flooded, own, LIMIT_OF_CALM, "the calm")]
    marks = []
    for place, mine, other, limit, name in asked:
        ratios = [one / two for one, two in zip(mine.p99, other.p99, strict=True)]
        marks.append(Mark(f"p99: {loads[place].title}, of {name}", limit, statistics.median(ratios)))
    return marks


def describe_logins(logins, options):
    """How many logins there really were."""
    seconds = options.rounds * (options.seconds + LEAD_IN)
    answered = sum(count for status, count in logins.items() if status.isdigit())
    kinds = ", ".join(f"{count} {status}" for status, count in sorted(logins.items()))
    return f"Logins: {answered / seconds:.0f}/s answered of {LOGINS_PER_SECOND}/s wanted ({kinds})."
