"""Where results go. Each sink sits behind its own queue, so that a slow one holds up neither cameras nor other sinks.

The table `SINKS` names the sinks that a run can open: `json_lines`, `mp4` (which keeps its files in `segments`),
`webhook`, `mqtt`, `window` and `collect` (which chooses frames by `worth_keeping` and writes them by `collection`).
`callback` calls a Python function. `sink` is the interface, `sink_queue` the bounded
queue and thread in front of each sink, `message` the JSON that other programs receive.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from fgd_yolo.streams.sinks.collect import CollectSink
from fgd_yolo.streams.sinks.json_lines import JsonLinesSink
from fgd_yolo.streams.sinks.mp4 import Mp4Sink
from fgd_yolo.streams.sinks.mqtt import MqttSink
from fgd_yolo.streams.sinks.sink import Sink, SinkStopped, SinkUnavailable
from fgd_yolo.streams.sinks.sink_queue import SinkQueue
from fgd_yolo.streams.sinks.webhook import WebhookSink
from fgd_yolo.streams.sinks.window import WindowSink

if TYPE_CHECKING:
    from fgd_yolo.streams.stream_options import RunOptions

__all__ = ["SINKS", "Sink", "SinkQueue", "SinkStopped", "SinkUnavailable", "open_sinks"]

SINKS: dict[str, Callable[[RunOptions, Callable[[], object]], Sink]] = {
    "json_lines": JsonLinesSink.from_options,
    "save": Mp4Sink.from_options,
    "webhook": WebhookSink.from_options,
    "mqtt": MqttSink.from_options,
    "show": WindowSink.from_options,
    "collect": CollectSink.from_options,
}
"""By the option of `RunOptions` that asks for it: opens a sink, given the options and a function that ends the run."""


def open_sinks(options: RunOptions, stop_run: Callable[[], object]) -> list[Sink]:
    """Open the sinks that the options ask for. If one cannot be opened, those opened before it are closed.

    Args:
        options: the options of the run.
        stop_run: ends the run; called by a sink whose reader or user has left.
    Raises:
        UsageError: an address or path pattern is invalid.
        FGDError: a sink is not available.
    """
    sinks: list[Sink] = []
    with ExitStack() as opened:
        for option, open_sink in SINKS.items():
            if getattr(options, option):
                sinks.append(open_sink(options, stop_run))
                opened.callback(sinks[-1].close)
        opened.pop_all()
    return sinks
