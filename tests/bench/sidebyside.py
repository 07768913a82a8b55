"""CPU time a request, side by side: nginx, nginx with auth_request, HAProxy, Caddy, a TLS relay and the gateway."""

import argparse
import statistics

import compare
import programs
import setting
from compare import Target
from marks import Mark, table

TARGETS = ("nginx", "auth-request", "haproxy", "caddy", "relay", "vestibule")
REFERENCES = ("nginx", "auth-request", "caddy", "relay")

# At most this part of what the reference spends a request.
PROMISES = {
    ("h1", "nginx"): 0.70,
    ("h2", "nginx"): 0.75,
    ("hs", "nginx"): 0.50,
    ("big", "nginx"): 0.60,
    ("h1", "auth-request"): 0.47,
    ("h1", "caddy"): 0.18,
    ("h1", "relay"): 1.00,
}


def add_options(parser):
    """Rounds, seconds, kinds and targets."""
    compare.add_options(parser)
    parser.add_argument("--targets", type=chosen_targets, default=list(TARGETS), help="the first is the reference (default all)")


def chosen_targets(text, possible=TARGETS):
    """The targets named in a list with commas, in that order."""
    names = text.split(",")
    unknown = [name for name in names if name not in possible]
    if unknown:
        raise argparse.ArgumentTypeError(f"no target `{unknown[0]}`; there are {', '.join(possible)}")
    return names


def measure(options, stand, binary):
    """The comparison itself; 1 when any request failed."""
    targets = start(options.targets, stand, binary)
    print(describe(stand, binary, options), flush=True)
    failed, marks = 0, []
    for kind in options.kinds:
        series = compare.compare(targets, kind, options.rounds, options.seconds, setting.say)
        references = [name for name in REFERENCES if name in series]
        print("\n" + compare.table(kind, series, references), flush=True)
        failed += sum(rounds.failed for rounds in series.values())
        marks += kept_or_not(kind, series)
    if marks:
        print("\n" + table(marks))
    print(f"\nFailed requests: {failed}.")
    return 1 if failed else 0


def kept_or_not(kind, series):
    """The marks of one kind of load for which gateway and reference were both measured."""
    marks = []
    for (name, reference), limit in PROMISES.items():
        if name == kind.name and reference in series and "vestibule" in series:
            figure = statistics.median(compare.ratios(series["vestibule"], series[reference]))
            marks.append(Mark(f"{kind.title}, of {reference}", limit, figure))
    return marks


def start(names, stand, binary):
    """Starts the backend and the targets, and makes sure that each does its duty."""
    stand.backend()
    gateway, cookie = stand.vestibule(binary) if "vestibule" in names else (None, programs.STRANGERS_COOKIE)
    targets = []
    for name in names:
        program = gateway if name == "vestibule" else starter(stand, name)()
        make_sure(program, stand, cookie)
        targets.append(Target(name, program.pids, f"https://localhost:{program.port}", cookie))
    return targets


def starter(stand, name):
    """What starts a target that needs no binary of ours."""
    if name == "caddy":
        binary = setting.caddy()
        return lambda: stand.caddy(binary)
    return getattr(stand, name.replace("-", "_"))


def make_sure(program, stand, cookie):
    """Refuses a target that passes on something else than the backend says, or does less than the others."""
    response = programs.check_answers(program, stand, cookie)
    missing = programs.missing_headers(response)
    if missing and program.name != "relay":
        raise programs.StartError(f"{program.name} does not send {', '.join(missing)} as the others do")
    if program.name in ("vestibule", "auth-request"):
        programs.check_refuses_strangers(program, stand)


def describe(stand, binary, options):
    """What was compared, where, and with which cryptography."""
    names = {"relay": "haproxy", "auth-request": "nginx"}
    used = {"nginx", "wrk", "h2load", "openssl", *(names.get(name, name) for name in options.targets)}
    lines = [
        setting.machine(),
        "",
        setting.versions(binary, used),
        f"Each figure: {options.rounds} rounds of {options.seconds} s, targets in turns, after one round to warm up.",
        "",
    ]
    for program in stand.running:
        if program.name in options.targets:
            lines.append(f"* {program.name}: {programs.handshake(program, stand)}")
    return "\n".join(lines)
