"""How much memory running programs have: resident size, with that of all their descendants."""

from pathlib import Path

from compare import family


def resident_kib(pids):
    """The sum of VmRSS over processes and their descendants, in KiB; pages that several share count for each."""
    return sum(resident_of(process) for pid in pids for process in family(pid))


def resident_of(pid):
    """VmRSS of one process in KiB; 0 when it has just ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    sizes = [int(line.split()[1]) for line in lines if line.startswith("VmRSS:")]
    return sizes[0] if sizes else 0
