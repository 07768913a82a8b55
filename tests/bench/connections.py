"""Memory of an idle authenticated TLS connection: how much a program grows by thousands that asked once each."""

import time
from dataclasses import dataclass

import setting
import sidebyside
from held import Held, raise_file_limit
from marks import Mark, table
from memory import resident_kib

TARGETS = ("nginx", "haproxy", "caddy", "vestibule")
WARM_UP = 200
LIMIT_KIB = 18
# Sockets and files of the client, and of a gateway, beside the connections that are counted.
SPARE_FILES = 1000
# The gateway's idle connections give back what they need for a request after one to ten seconds.
SETTLE_SECONDS = 12


@dataclass(frozen=True)
class Growth:
    """What one program grew by: resident KiB before the first connection, with half of them, and with all."""

    name: str
    before: int
    half: int
    after: int
    count: int
    lost: int

    @property
    def each(self):
        """KiB for one connection."""
        return (self.after - self.before) / self.count

    @property
    def each_of_last_half(self):
        """KiB for one connection, when memory that had been freed before the first one was used up long ago."""
        return (self.after - self.half) / (self.count - self.count // 2)

    def row(self):
        """Its line of the table."""
        sizes = f"{self.before / 1024:.1f} | {self.after / 1024:.1f}"
        return f"| {self.name} | {sizes} | {self.each:.1f} | {self.each_of_last_half:.1f} | {self.lost} |"


def add_options(parser):
    """How many connections, to what."""
    parser.add_argument("--count", type=int, default=4000, help="connections held open (default 4000, at most 8000)")
    parser.add_argument("--protocol", choices=("http/1.1", "h2"), default="http/1.1", help="what they speak (default http/1.1)")
    parser.add_argument("--targets", type=chosen_targets, default=list(TARGETS), help="of " + ",".join(TARGETS) + " (default all)")


def chosen_targets(text):
    """The targets named in a list with commas."""
    return sidebyside.chosen_targets(text, TARGETS)


def measure(options, stand, binary):
    """One program after the other, each in its own process, each with fresh connections; 1 when one was lost."""
    raise_file_limit(options.count + SPARE_FILES)
    targets = sidebyside.start(options.targets, stand, binary)
    print(f"{setting.machine()}\n\n{setting.versions(binary, options.targets)}\n", flush=True)
    growths = [grow(target, options.protocol, options.count, stand) for target in targets]
    print(report(growths, options.count))
    return 1 if any(growth.lost for growth in growths) else 0


def grow(target, protocol, count, stand):
    """Warms up with connections that are closed again, then measures before and after."""
    title = f"{target.name}, {'HTTP/2' if protocol == 'h2' else 'HTTP/1.1'}"
    with Held(target, stand.trust(), protocol) as warm:
        warm.add(WARM_UP)
    settle()
    before = resident_kib(target.pids)
    with Held(target, stand.trust(), protocol) as held:
        half = size_with(held, count // 2)
        after = size_with(held, count - count // 2)
        growth = Growth(title, before, half, after, count, held.lost())
    setting.say(f"{title}: {growth.each:.1f} KiB, {growth.each_of_last_half:.1f} KiB in the last half")
    return growth


def size_with(held, more):
    """Resident KiB with that many more connections."""
    held.add(more)
    settle()
    return resident_kib(held.target.pids)


def settle():
    """Gives a program the time to notice what was opened or closed."""
    time.sleep(SETTLE_SECONDS)


def report(growths, count):
    """The result as Markdown."""
    lines = [
        f"**Memory of {count} idle connections, one request each**",
        "",
        "| program, protocol | MiB before | MiB after | KiB a connection | of the last half | lost |",
        "|---|--:|--:|--:|--:|--:|",
        *(growth.row() for growth in growths),
    ]
    marks = [
        Mark(f"{growth.name}: a connection, the larger figure", LIMIT_KIB, max(growth.each, growth.each_of_last_half), " KiB")
        for growth in growths
        if growth.name.startswith("vestibule")
    ]
    return "\n".join(lines) + ("\n\n" + table(marks) if marks else "")
