"""Whether a request costs the same with many routes and with many connections."""

import statistics
from contextlib import ExitStack

import compare
import programs
import setting
from compare import KINDS, Target
from held import Held, raise_file_limit
from marks import Mark, table

LIMIT = 1.15
# What wrk keeps busy, whatever else is open.
BUSY = KINDS["h1"].connections
SPARE_FILES = 1000


def add_options(parser):
    """Rounds, seconds and sizes."""
    parser.add_argument("--rounds", type=int, default=7, help="measured rounds, after one that warms up (default 7)")
    parser.add_argument("--seconds", type=int, default=2, help="length of one turn (default 2)")
    parser.add_argument("--routes", type=setting.sizes, default=[10, 100, 1000, 10000], help="default 10,100,1000,10000")
    parser.add_argument(
        "--connections", type=setting.sizes, default=[BUSY, 512, 4096, 8000], help=f"from {BUSY} on; default {BUSY},512,4096,8000"
    )


def measure(options, stand, binary):
    """First the routes, then the connections; 1 when any request failed or a connection was lost."""
    if options.connections[0] < BUSY:
        raise programs.StartError(f"there are at least {BUSY} connections, those that wrk keeps busy")
    raise_file_limit(sum(options.connections) + SPARE_FILES)
    stand.backend()
    print(f"{setting.machine()}\n\n{setting.versions(binary, ['wrk'])}", flush=True)
    print(f"Each figure: {options.rounds} rounds of {options.seconds} s, sizes in turns, after one round to warm up.")
    routes, marks = by_routes(options, stand, binary)
    connections, more = by_connections(options, stand, binary)
    print("\n" + table(marks + more))
    print(f"\nFailed requests and lost connections: {routes + connections}.")
    return 1 if routes + connections else 0


def by_routes(options, stand, binary):
    """A gateway for each number of routes; what is asked for is on the last one."""
    targets = []
    for count in options.routes:
        setting.say(f"starting a gateway with {count} routes")
        gateway, cookie = stand.vestibule(binary, f"{count} routes", [f"/area-{number}/" for number in range(count)])
        targets.append(Target(gateway.name, gateway.pids, f"https://localhost:{gateway.port}/area-{count - 1}/", cookie))
    failed, marks = take_turns(targets, options)
    stop(targets, stand)
    return failed, marks


def by_connections(options, stand, binary):
    """A gateway for each number of connections: wrk keeps 64 busy, all others asked once and are idle."""
    targets = []
    with ExitStack() as stack:
        idle = []
        for count in options.connections:
            gateway, cookie = stand.vestibule(binary, f"{count} connections")
            targets.append(Target(gateway.name, gateway.pids, f"https://localhost:{gateway.port}/", cookie))
            setting.say(f"opening {count - BUSY} idle connections")
            idle.append(stack.enter_context(Held(targets[-1], stand.trust())).add(count - BUSY))
        failed, marks = take_turns(targets, options)
        lost = sum(held.lost() for held in idle)
    stop(targets, stand)
    return failed + lost, marks


def take_turns(targets, options):
    """Compares the gateways with the first of them; how many requests failed, and the marks."""
    series = compare.compare(targets, KINDS["h1"], options.rounds, options.seconds, setting.say)
    print("\n" + compare.table(KINDS["h1"], series), flush=True)
    first, *others = series
    marks = []
    for name in others:
        figure = statistics.median(compare.ratios(series[name], series[first]))
        marks.append(Mark(f"{name}, of {first}", LIMIT, figure))
    return sum(rounds.failed for rounds in series.values()), marks


def stop(targets, stand):
    """Stops the gateways of one part, so that they are not in the way of the next."""
    names = {target.name for target in targets}
    for program in [program for program in stand.running if program.name in names]:
        program.stop()
        stand.running.remove(program)
