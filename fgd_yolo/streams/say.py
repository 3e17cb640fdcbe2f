"""The one place where streams speak to people."""

from __future__ import annotations

import sys

from fgd_yolo.streams.address import redact
from fgd_yolo.text import shortened, single_line


def say(stream: str, text: str) -> None:
    """Write one line about a stream to standard error, printable, of at most 300 characters and without secrets."""
    # One call for line and end of line: print() makes two, between which another thread may write.
    # The name was checked where it came in: redacted with the text, the state of a stream called token would be hidden.
    line = single_line(f"{stream}: {redact(text)}")
    sys.stderr.write(f"{shortened(line)}\n")
    sys.stderr.flush()
