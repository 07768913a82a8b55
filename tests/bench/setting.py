"""What every measurement stands on: the packages, the gateway's binary, and a description of where it ran.

Debian's packages are installed when this is root; Caddy comes from PyPI into a virtual environment of its own.
"""

import argparse
import datetime
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import compare
import programs

PACKAGES = {"nginx": "nginx-light", "haproxy": "haproxy", "wrk": "wrk", "h2load": "nghttp2-client", "openssl": "openssl"}
REQUIREMENTS = Path(__file__).resolve().with_name("requirements.txt")


def prepare():
    """Makes sure of two CPUs and of Debian's programs."""
    if len(os.sched_getaffinity(0) & {programs.PROXY_CPU, compare.LOAD_CPU}) < 2:
        sys.exit("error: the comparison needs CPU 0 for the proxies and CPU 1 for load and backend")
    install_missing()


def install_missing():
    """Installs the Debian packages that are missing, or says which."""
    missing = [name for name in PACKAGES if not shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")]
    if not missing:
        return
    packages = [PACKAGES[name] for name in missing]
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        sys.exit(f"error: {', '.join(missing)} not found; install them, on Debian: apt-get install {' '.join(packages)}")
    say(f"installing {' '.join(packages)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-qq"], env=environment, check=True, stdout=sys.stderr)
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    subprocess.run(install, env=environment, check=True, stdout=sys.stderr)


def caddy():
    """Caddy's binary, in a virtual environment that is made anew when its requirements changed."""
    folder = programs.repository() / "tests" / ".tools" / "bench"
    wanted, stamp = REQUIREMENTS.read_text() + sys.version, folder / ".made-from"
    if not stamp.exists() or stamp.read_text() != wanted:
        say("installing Caddy")
        shutil.rmtree(folder, ignore_errors=True)
        python = [str(folder / "bin" / "python"), "-m", "pip"]
        options = ["--quiet", "--disable-pip-version-check"]
        quietly([sys.executable, "-m", "venv", str(folder)])
        quietly([*python, "install", *options, "--requirement", str(REQUIREMENTS)])
        stamp.write_text(wanted)
    return folder / "bin" / "caddy"


def quietly(words):
    """Runs a command and shows what it said only when it fails."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise programs.StartError(f"`{' '.join(words)}` ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def gateway_binary(given):
    """The gateway's release binary, built if there is none."""
    if given:
        return given.resolve(strict=True)
    root, binary = programs.repository(), release_build()
    if not binary.exists():
        say("building the gateway (some minutes)")
        subprocess.run(["cargo", "build", "--release", "--locked"], cwd=root, check=True, stdout=sys.stderr)
    return binary


def release_build():
    """Where cargo puts it."""
    folder = os.environ.get("CARGO_TARGET_DIR") or programs.repository() / "target"
    return Path(folder).resolve() / "release" / "vestibule"


def machine():
    """When and where this was measured, as a sentence."""
    today = datetime.date.today().isoformat()
    return f"Measured on {today}: {cpu_model()}, {os.cpu_count()} CPUs, Linux {platform.release()}."


def versions(binary, names):
    """What was measured, and with what; only programs that took part."""
    asked = {
        "nginx": lambda: programs.version([programs.program("nginx"), "-v"]),
        "haproxy": lambda: programs.version([programs.program("haproxy"), "-v"]).split(" - ")[0],
        "caddy": lambda: "Caddy " + programs.version([str(caddy()), "version"]).split(" ")[0],
        "wrk": lambda: programs.version(["wrk", "-v"]).split(" Copyright")[0],
        "h2load": lambda: programs.version(["h2load", "--version"]),
        "openssl": lambda: programs.version(["openssl", "version"]).split(" (")[0],
    }
    said = [programs.version([str(binary), "--version"]) + origin(binary)] if binary else []
    said += [ask() for name, ask in asked.items() if name in names]
    return f"Programs: {'; '.join(said)}."


def origin(binary):
    """Which sources the gateway was built from, as far as that can be known."""
    built = datetime.datetime.fromtimestamp(binary.stat().st_mtime, datetime.timezone.utc)
    return commit() if binary == release_build() else f" (a binary of {built:%Y-%m-%d %H:%M} UTC)"


def commit():
    """The commit that is checked out, marked when files differ from it."""
    words = ["git", "-C", str(programs.repository()), "describe", "--always", "--dirty"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return f" ({done.stdout.strip()})" if done.returncode == 0 else ""


def cpu_model():
    """The processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def sizes(text):
    """Numbers from a list with commas, each greater than the one before; the first is what the others are compared with."""
    try:
        numbers = [int(number) for number in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"`{text}` is not a list of numbers") from None
    if numbers[0] < 1 or numbers != sorted(set(numbers)):
        raise argparse.ArgumentTypeError(f"`{text}` does not rise from 1 or more")
    return numbers


def say(text):
    """Progress, apart from the result."""
    print(text, file=sys.stderr, flush=True)
