"""Hosts for tests of several machines: network namespaces with file systems, names and caches of their own.

Each host is a process that holds its namespaces, and vanishes with it. A veth pair connects two hosts; its addresses
exist in their namespaces only.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from signals import default_signals

SCRIPT = str(Path(__file__).parents[1] / "tools" / "distill.py")
NAMES = {"amber": "10.77.0.1", "blue": "10.77.0.2"}
"""Addresses of the hosts by name, as their `/etc/hosts` has them."""
# $1 is the host's own folder, $2 the folder under which it sees that, $3 its name, $4 its /etc/hosts, the others what
# it must not see.
_SET_UP = """
set -e
own=$1 view=$2 name=$3
mount --bind "$4" /etc/hosts
shift 4
mount --bind "$own" "$view"
for folder in "$@"; do mount -t tmpfs none "$folder"; done
hostname "$name"
ip link set lo up
echo ready
exec sleep infinity
"""


class Host:
    """A machine on which commands run.

    Args:
        name: its host name.
        address: its address, on which the other host reaches it.
        folder: its folder as the test sees it.
        view: the same folder as the host sees it.
        prefix: words that run a command on it.
    """

    def __init__(self, name: str, address: str, folder: Path, view: Path, prefix: Sequence[str] = ()):
        self.name, self.address, self.folder, self.view = name, address, folder, view
        self._prefix = list(prefix)

    @property
    def environment(self) -> dict[str, str]:
        """Environment of its commands: caches of its own, and what identifies its processes."""
        own = {"FGD_YOLO_CACHE": "cache", "YOLO_CONFIG_DIR": "config", "MPLCONFIGDIR": "config", "TMPDIR": "tmp"}
        places = {name: str(self.view / folder) for name, folder in own.items()}
        return {**os.environ, **places, "OMP_NUM_THREADS": "1", "FGD_YOLO_TEST_HOST": str(self.folder)}

    def torchrun(self, options: Sequence[str], words: Sequence[object]) -> subprocess.Popen:
        """Start `torchrun OPTIONS tools/distill.py WORDS` in the host's folder."""
        return self._start([sys.executable, "-m", "torch.distributed.run", *options], words, {})

    def process(self, rank: int, size: int, address: str, port: int, words: Sequence[object]) -> subprocess.Popen:
        """Start `python tools/distill.py WORDS` as the only rank of this host, without torchrun."""
        place = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}
        place = {name: str(value) for name, value in {**place, "MASTER_ADDR": address, "MASTER_PORT": port}.items()}
        return self._start([sys.executable], words, place)

    def _start(self, program: list[str], words: Sequence[object], variables: dict[str, str]) -> subprocess.Popen:
        (self.folder / "tmp").mkdir(exist_ok=True)
        command = [*self._prefix, "env", "-C", str(self.view), *program, SCRIPT, *map(str, words)]
        options = {"preexec_fn": default_signals, "start_new_session": True, "text": True}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, env={**self.environment, **variables}, **pipes, **options)

    def rank(self, rank: int) -> int:
        """Return the process id of a rank that runs here."""
        return next(process for process, variables in self._processes() if f"RANK={rank}" in variables)

    def kill(self) -> None:
        """Kill all processes at once, as if the machine lost its power."""
        for process, _ in [*self._processes()]:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def _processes(self) -> Iterator[tuple[int, set[str]]]:
        """Yield process id and environment of each process that runs here."""
        for process in Path("/proc").iterdir():
            with suppress(OSError):  # it has ended meanwhile
                variables = {*(process / "environ").read_text().split("\0")} if process.name.isdigit() else set()
                if f"FGD_YOLO_TEST_HOST={self.folder}" in variables:
                    yield int(process.name), variables


def why_no_hosts() -> str | None:
    """Return why this machine cannot have hosts of its own, or None if it can."""
    missing = [program for program in ("ip", "unshare", "nsenter") if shutil.which(program) is None]
    if missing:
        return f"{', '.join(missing)} is not installed"
    trial = ["unshare", "--net", "--mount", "--uts", "sh", "-c", "mount -t tmpfs none /mnt && ip link set lo up"]
    run = subprocess.run(trial, capture_output=True, text=True)
    return None if run.returncode == 0 else f"namespaces are not allowed here ({run.stderr.strip()})"


@contextmanager
def two_hosts(folder: Path) -> Iterator[tuple[Host, Host]]:
    """Make two connected hosts, each with a folder that it sees under the same path, and remove them at the end."""
    view, own, names = folder / "view", [folder / name for name in NAMES], folder / "names"
    for path in (view, *own):
        path.mkdir()
    names.write_text("".join(f"{address} {name}\n" for name, address in {"localhost": "127.0.0.1", **NAMES}.items()))
    with ExitStack() as stack:
        holders = []
        for path in own:
            words = ["unshare", "--net", "--mount", "--uts", "--propagation", "private", "sh", "-c", _SET_UP, "sh"]
            words += [str(path), str(view), path.name, str(names), *map(str, own)]
            holder = stack.enter_context(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
            stack.callback(holder.kill)
            assert holder.stdout.readline() == "ready\n"
            holders.append(holder.pid)
        pair = ["ip", "link", "add", "wire", "netns", str(holders[0]), "type", "veth"]
        subprocess.run([*pair, "peer", "name", "wire", "netns", str(holders[1])], check=True)
        hosts = []
        for path, pid in zip(own, holders, strict=True):
            prefix, address = ["nsenter", "-t", str(pid), "-n", "-m", "-u"], NAMES[path.name]
            for words in (["addr", "add", f"{address}/24", "dev", "wire"], ["link", "set", "wire", "up"]):
                subprocess.run([*prefix, "ip", *words], check=True)
            hosts.append(Host(path.name, address, path, view, prefix))
            stack.callback(hosts[-1].kill)
        yield hosts[0], hosts[1]
