"""How much memory a piece of code takes, measured in a process of its own."""

from __future__ import annotations

import subprocess
import sys

_MEASURED = """
def highest():
    # Not getrusage, whose figure a child takes over from the process that started it.
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1000
{before}
_start = highest()
{code}
print(highest() - _start)
"""


def grown_mb(code: str, before: str = "") -> float:
    """Return by how many megabytes a process grew at most while it ran a code, after what ran before it.

    The process may have 8 GB of addresses: what goes far beyond what a test expects ends there.
    """
    limit = "import resource; resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))\n"
    whole = limit + _MEASURED.format(before=before, code=code)
    done = subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return float(done.stdout.splitlines()[-1])
