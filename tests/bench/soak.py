"""Whether memory grows under a mixed load that goes on."""

import contextlib
import statistics
import subprocess
import time
from dataclasses import replace

import compare
import programs
import setting
import sidebyside
import signin
from compare import KINDS, LoadError
from marks import Mark, table
from memory import resident_kib

EVERY = 10
PER_MINUTE = 60 // EVERY
LIMIT = 1.02
# All at once, for the whole time.
LOADS = (
    replace(KINDS["h1"], connections=32),
    replace(KINDS["h2"], connections=8),
    replace(KINDS["hs"], connections=4),
    replace(KINDS["big"], connections=4),
)


def add_options(parser):
    """How long."""
    parser.add_argument("minutes", nargs="?", type=int, default=10, help="at least 3 (default 10)")


def measure(options, stand, binary):
    """Loads and looks every ten seconds; 1 when any request failed."""
    if options.minutes < 3:
        raise programs.StartError("the first minute does not count, so a soak takes at least 3")
    (gateway,) = sidebyside.start(["vestibule"], stand, binary)
    print(f"{setting.machine()}\n\n{setting.versions(binary, ['wrk', 'h2load'])}", flush=True)
    with loads(gateway, options.minutes * PER_MINUTE * EVERY) as running:
        samples = watch(gateway, options.minutes, running, stand)
        answered = [result(kind, load) for kind, load in zip(LOADS, running, strict=True)]
    failed = sum(one.failed for one in answered)
    print("\n" + report(samples, answered) + f"\n\nFailed requests: {failed}.")
    return 1 if failed else 0


@contextlib.contextmanager
def loads(target, seconds):
    """All loads at once; those that still run at the end are stopped."""
    running = []
    try:
        for kind in LOADS:
            command = kind.command(target.url, target.cookie, seconds)
            running.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        yield running
    finally:
        for load in running:
            if load.poll() is None:
                load.kill()
            load.communicate()


def watch(gateway, minutes, running, stand):
    """Resident KiB every ten seconds. Before each look somebody signs in, whose oldest session ends for it."""
    port, start, samples = int(gateway.url.rpartition(":")[2]), time.monotonic(), []
    for number in range(1, minutes * PER_MINUTE):
        time.sleep(max(0, start + number * EVERY - time.monotonic()))
        if any(load.poll() is not None for load in running):
            raise LoadError("a load generator ended before its time")
        signin.session_cookie(port, stand.trust(), programs.VISITOR, programs.PASSWORD)
        samples.append(resident_kib(gateway.pids))
        setting.say(f"{number * EVERY:4} s: {samples[-1] / 1024:.1f} MiB")
    return samples


def result(kind, load):
    """What a load generator saw, once it has ended."""
    said, _ = load.communicate(timeout=60)
    if load.returncode:
        raise LoadError(f"`{kind.generator}` ended with {load.returncode}: {said.strip()}")
    return compare.read(kind, said)


def report(samples, answered):
    """Sizes by the minute as Markdown, and whether the last one is that of the second."""
    minutes = [samples[max(0, end - PER_MINUTE) : end] for end in range(PER_MINUTE - 1, len(samples) + 1, PER_MINUTE)]
    lines = [
        f"**Resident size under {len(LOADS)} loads at once, {sum(one.requests for one in answered)} requests and {len(samples)} logins**",
        "",
        "| minute | MiB (median) | lowest to highest |",
        "|--:|--:|--:|",
    ]
    for number, sizes in enumerate(minutes, 1):
        lines.append(f"| {number} | {mib(statistics.median(sizes))} | {mib(min(sizes))} to {mib(max(sizes))} |")
    growth = statistics.median(minutes[-1]) / statistics.median(minutes[1])
    slope = (statistics.median(minutes[-1]) - statistics.median(minutes[1])) / (len(minutes) - 2)
    mark = Mark(f"the last minute, of the second ({slope:+.0f} KiB a minute)", LIMIT, growth)
    return "\n".join(lines) + "\n\n" + table([mark])


def mib(kib):
    """KiB as MiB."""
    return f"{kib / 1024:.1f}"
