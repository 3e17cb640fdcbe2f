"""Messages about streams on standard error."""

from __future__ import annotations

import sys

from fgd_yolo.streams.address import redact
from fgd_yolo.text import shortened, single_line


def log(stream: str, message: str) -> None:
    """Write one line about a stream to standard error: printable, at most 300 characters, without secrets."""
    # A single write for the line and its end: print() makes two, between which another thread may write.
    # The name was checked when the stream was added. Redacted with the message, the state of a stream called token
    # would be hidden.
    line = single_line(f"{stream}: {redact(message)}")
    sys.stderr.write(f"{shortened(line)}\n")
    sys.stderr.flush()
