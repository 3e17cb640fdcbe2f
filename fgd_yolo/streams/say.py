"""The one place where streams speak to people."""

from __future__ import annotations

import sys

from fgd_yolo.streams.address import redact
from fgd_yolo.text import shortened, single_line


def say(stream: str, text: str) -> None:
    """Write one line about a stream to standard error, printable, of at most 300 characters and without secrets."""
    # One call for line and end of line: print() makes two, between which another thread may write.
    # Each by itself: behind a stream called token the state would pass for a secret.
    line = single_line(f"{redact(stream)}: {redact(text)}")
    sys.stderr.write(f"{shortened(line)}\n")
    sys.stderr.flush()
