"""Where results go, each place behind a queue of its own, so that none can hold up the cameras or another one."""

from __future__ import annotations

from fgd_yolo.streams.sinks.sink import Sink, SinkUnavailable
from fgd_yolo.streams.sinks.sink_queue import SinkQueue

__all__ = ["Sink", "SinkQueue", "SinkUnavailable"]
