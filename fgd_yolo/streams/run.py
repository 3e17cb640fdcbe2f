"""A run from its options to its closing table."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.runtime.detector import OnnxDetector
from fgd_yolo.runtime.pixel_budget import PixelBudget
from fgd_yolo.stopping import StopRequest, on_stop_signals
from fgd_yolo.streams.frame import Result
from fgd_yolo.streams.pipeline import Pipeline
from fgd_yolo.streams.scheduling.frame_buffer import parse_policy
from fgd_yolo.streams.sinks import open_sinks
from fgd_yolo.streams.sources import check_address
from fgd_yolo.streams.steps.class_filter import ClassFilter
from fgd_yolo.streams.stream_options import RunOptions
from fgd_yolo.streams.summary import summary

TOKEN = "FGD_YOLO_TOKEN"
_STATUS_S = 1.0
_PAUSE_S = 0.05


class Ended(NamedTuple):
    """How a run ended: its closing table, and what failed for good on the way."""

    table: str
    failure: FGDError | None


def run(options: RunOptions) -> Ended:
    """Run streams until they end, a signal comes, the time is over or the detector fails on every frame.

    Everything that can be refused is refused before a source is opened: options, addresses, the web port, the model,
    the places where results go. With a page the run goes on when all streams have ended, since others can be added.

    Args:
        options: of the run.
    Returns:
        The table; and the failure of the detector, or of sinks that were asked for and failed to the end.
    Raises:
        UsageError: an option or address that can never work.
        FGDError: the model, the port or a sink cannot be had.
    """
    if not options.streams and not options.web:
        raise UsageError("no stream was named: say --source, or streams: in the --config file")
    _check(options)
    tracking = _steps(options)
    stop = threading.Event()
    with ExitStack() as stack:
        server = stack.enter_context(_bind(options)) if options.web else None
        detector = OnnxDetector(
            options.model, options.device, options.threads, mode=options.mode, conf=options.conf, iou=options.iou
        )
        choice = [] if options.classes is None else [ClassFilter(detector.names, options.classes)]
        frames = _latest_frames() if server else None
        sinks = open_sinks(options, stop.set)
        observers = [frames] if frames else []
        steps = [*choice, *tracking]
        wanted = {"policy": options.policy, "max_megapixels": options.max_megapixels}
        pipeline = Pipeline(detector, sinks, steps=steps, observers=observers, **wanted)
        stack.callback(pipeline.stop)
        for name, stream in options.streams.items():
            pipeline.add(stream.source, name, policy=stream.policy)
        stack.enter_context(on_stop_signals(partial(_stop, stop)))
        pipeline.start()
        if server:
            server.start(_app(pipeline, frames, options))
            print(f"page: {server.url}", file=sys.stderr, flush=True)
        failure = _wait(pipeline, stop, options)
        pipeline.stop()
        found = pipeline.stats()
        return Ended(summary(found), failure or _failed(found["sinks"][: len(sinks)]))


def _stop(stop: threading.Event) -> None:
    """End the run in good order; the second time at once."""
    if stop.is_set():
        raise StopRequest("stopped at once")
    stop.set()


def _failed(sinks: list[dict[str, Any]]) -> FGDError | None:
    """Return one line about the sinks that failed to the end, if any."""
    failed = [f"{sink['name']}: {sink['failure']}" for sink in sinks if sink["failure"]]
    return FGDError(f"results are missing in {'; in '.join(failed)}") if failed else None


def _check(options: RunOptions) -> None:
    """Refuse what is wrong in the streams themselves, before a model is loaded or a file made."""
    for policy in [options.policy, *(stream.policy for stream in options.streams.values())]:
        if policy is not None:
            parse_policy(policy)
    for stream in options.streams.values():
        check_address(stream.source, PixelBudget(options.max_megapixels))
    for path in [options.model, *(Path(str(stream.source)) for stream in options.streams.values())]:
        if options.json_lines and _is_same_file(options.json_lines, path):
            there = f"{options.json_lines} is read here and would be written to"
            raise UsageError(f"{there}: choose another place for the results")


def _is_same_file(one: Path, other: Path) -> bool:
    with suppress(OSError, ValueError):  # one of them is no file
        return one.samefile(other)
    return False


def _wait(pipeline: Pipeline, stop: threading.Event, options: RunOptions) -> FGDError | None:
    """Wait for the end, with a line of what is going on where somebody watches; return the detector's failure."""
    failure, live = None, sys.stderr.isatty()
    try:
        _watch(pipeline, stop, options, live)
    except FGDError as error:
        failure = error
    if live:
        sys.stderr.write("\n")
    return failure


def _watch(pipeline: Pipeline, stop: threading.Event, options: RunOptions, live: bool) -> None:
    until = time.monotonic() + options.seconds if options.seconds else float("inf")
    while not stop.is_set() and time.monotonic() < until:
        if pipeline.wait(min(_STATUS_S, max(until - time.monotonic(), 0.01))) and not options.web:
            break
        if options.web and not stop.is_set():
            # A pipeline whose streams have all ended does not make us wait. Not by the event, whose lock a signal that
            # comes meanwhile would wait for, in this very thread.
            time.sleep(_PAUSE_S)
        if live:
            sys.stderr.write(f"\r\x1b[K{status(pipeline.stats())}")
            sys.stderr.flush()


def status(stats: dict[str, Any]) -> str:
    """Return one line about all streams: how many are up, frames per second together, the oldest age after
    the inference."""
    streams = stats["streams"].values()
    up = sum(stream["state"] == "UP" for stream in streams)
    rate = sum(stream["fps"] or 0 for stream in streams)
    ages = [stream["ages"]["infer_end"]["p95_ms"] for stream in streams]
    oldest = max((age for age in ages if age is not None), default=0)
    dropped = sum(sum(stream["dropped"].values()) for stream in streams)
    return f"{up} of {len(streams)} streams up, {rate:.1f} fps, p95 age {oldest:.0f} ms, {dropped} dropped"


def _bind(options: RunOptions) -> Any:
    from fgd_yolo.streams.web import bind
    from fgd_yolo.streams.web.server import split_address

    return bind(*split_address(options.web), _token(options))


def _token(options: RunOptions) -> str | None:
    return options.token or os.environ.get(TOKEN) or None


def _latest_frames() -> Any:
    from fgd_yolo.streams.web.latest_frames import LatestFrames

    return LatestFrames()


def _app(pipeline: Pipeline, frames: Any, options: RunOptions) -> Any:
    from fgd_yolo.streams.web import create_app
    from fgd_yolo.streams.web.stream_control import StreamSettings

    orders = {name: StreamSettings(stream.source, stream.policy) for name, stream in options.streams.items()}
    return create_app(pipeline, frames, token=_token(options), orders=orders)


def _steps(options: RunOptions) -> list[Callable[[Result], None]]:
    from fgd_yolo.streams.steps.tracking import ObjectTracker
    from fgd_yolo.streams.steps.zones import ZoneCounter, parse_layout

    asked = {name: {"zones": one.zones, "lines": one.lines} for name, one in options.streams.items()}
    layouts = {name: parse_layout(layout) for name, layout in asked.items() if layout["zones"] or layout["lines"]}
    steps: list[Callable[[Result], None]] = [ObjectTracker()] if options.track or layouts else []
    return [*steps, ZoneCounter(layouts)] if layouts else steps
