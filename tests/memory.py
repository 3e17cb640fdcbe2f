"""Measure the memory that a piece of code needs, in a separate process."""

from __future__ import annotations

import subprocess
import sys

_MEASURED = """
def highest():
    # Not getrusage, whose value a child process inherits from its parent.
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1000
{before}
_start = highest()
{code}
print(highest() - _start)
"""


def grown_mb(code: str, before: str = "") -> float:
    """Return the growth of a process in megabytes, at its peak, while it runs `code` after `before`.

    The address space is limited to 8 GB, so that code which needs far more than a test expects fails.
    """
    limit = "import resource; resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))\n"
    program = limit + _MEASURED.format(before=before, code=code)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return float(done.stdout.splitlines()[-1])
