"""The one place where streams speak to people."""

from __future__ import annotations

import sys

from fgd_yolo.streams.address import redact


def say(stream: str, text: str) -> None:
    """Write one line about a stream to standard error, without secrets."""
    # One call for line and end of line: print() makes two, between which another thread may write.
    # Each by itself: behind a stream called token the state would pass for a secret.
    sys.stderr.write(f"{redact(stream)}: {redact(text)}\n")
    sys.stderr.flush()
