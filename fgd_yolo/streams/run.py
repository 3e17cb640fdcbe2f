"""A run of streams, from its options to its closing table."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.runtime.detector import OnnxDetector
from fgd_yolo.runtime.pixel_budget import PixelBudget
from fgd_yolo.stopping import StopRequest, on_stop_signals
from fgd_yolo.streams.pipeline import Pipeline
from fgd_yolo.streams.scheduling.frame_buffer import parse_policy
from fgd_yolo.streams.sinks import open_sinks
from fgd_yolo.streams.sources import check_address
from fgd_yolo.streams.steps import create_steps
from fgd_yolo.streams.steps.tracking import check_tracking
from fgd_yolo.streams.steps.zones import parse_layouts
from fgd_yolo.streams.stream_options import RunOptions
from fgd_yolo.streams.summary import closing_table, status_line

TOKEN_VARIABLE = "FGD_YOLO_TOKEN"
_STATUS_INTERVAL_S = 1.0
_PAUSE_S = 0.05


class RunResult(NamedTuple):
    """The closing table of a run, and the error that it ends with, if any."""

    table: str
    error: FGDError | None


def run(options: RunOptions) -> RunResult:
    """Run streams until they end, a stop signal comes, the time is up, or the detector fails on every frame.

    Options, addresses, the web port, the model and the sinks are checked before a source is opened. With a web page the
    run continues after all streams have ended, since others can be added.

    Args:
        options: the options of the run.
    Returns:
        The closing table, and the error of the detector or of sinks that still failed at the end.
    Raises:
        UsageError: an option or address is invalid.
        FGDError: the model, the port or a sink is not available.
    """
    if not options.streams and not options.web:
        raise UsageError("missing --source, or streams: in the --config file")
    _check(options)
    stop = threading.Event()
    with ExitStack() as stack:
        server = stack.enter_context(_bind(options)) if options.web else None
        detector = OnnxDetector(
            options.model, options.device, options.threads, mode=options.mode, conf=options.conf, iou=options.iou
        )
        steps = create_steps(options, detector.names)
        frames = _latest_frames() if server else None
        sinks = open_sinks(options, stop.set)
        pipeline = Pipeline(
            detector,
            sinks,
            policy=options.policy,
            steps=steps,
            observers=[frames] if frames else [],
            max_megapixels=options.max_megapixels,
        )
        stack.callback(pipeline.stop)
        for name, stream in options.streams.items():
            pipeline.add(stream.source, name, policy=stream.policy)
        stack.enter_context(on_stop_signals(partial(_stop, stop)))
        pipeline.start()
        if server:
            server.start(_app(pipeline, frames, options))
            print(f"page: {server.url}", file=sys.stderr, flush=True)
        error = _wait(pipeline, stop, options)
        pipeline.stop()
        stats = pipeline.stats()
        return RunResult(closing_table(stats), error or _sink_error(stats["sinks"][: len(sinks)]))


def _stop(stop: threading.Event) -> None:
    """End the run cleanly; the second time at once."""
    if stop.is_set():
        raise StopRequest("stopped at once")
    stop.set()


def _sink_error(sinks: list[dict[str, Any]]) -> FGDError | None:
    """Return an error about the sinks that still failed at the end, if any."""
    failed = [f"{sink['name']}: {sink['failure']}" for sink in sinks if sink["failure"]]
    return FGDError(f"results are missing in {'; in '.join(failed)}") if failed else None


def _check(options: RunOptions) -> None:
    """Check the streams before a model is loaded or a file is created."""
    for policy in [options.policy, *(stream.policy for stream in options.streams.values())]:
        if policy is not None:
            parse_policy(policy)
    parse_layouts(options)
    for stream in options.streams.values():
        check_address(stream.source, PixelBudget(options.max_megapixels))
    for path in [options.model, *(Path(str(stream.source)) for stream in options.streams.values())]:
        if options.json_lines and _is_same_file(options.json_lines, path):
            raise UsageError(f"--json {options.json_lines} is an input of this run: choose another file")
    check_tracking(options)


def _is_same_file(one: Path, other: Path) -> bool:
    with suppress(OSError, ValueError):  # one of them is not a file
        return one.samefile(other)
    return False


def _wait(pipeline: Pipeline, stop: threading.Event, options: RunOptions) -> FGDError | None:
    """Wait for the end, with a status line on a terminal; return the error of the detector."""
    failure, is_terminal = None, sys.stderr.isatty()
    try:
        _wait_with_status(pipeline, stop, options, is_terminal)
    except FGDError as error:
        failure = error
    if is_terminal:
        sys.stderr.write("\n")
    return failure


def _wait_with_status(pipeline: Pipeline, stop: threading.Event, options: RunOptions, is_terminal: bool) -> None:
    until = time.monotonic() + options.seconds if options.seconds else float("inf")
    while not stop.is_set() and time.monotonic() < until:
        if pipeline.wait(min(_STATUS_INTERVAL_S, max(until - time.monotonic(), 0.01))) and not options.web:
            break
        if options.web and not stop.is_set():
            # Once all streams have ended, `pipeline.wait` returns at once. stop.wait() would hold the lock of the
            # event, which the handler of a signal that arrives in the meantime needs, in this same thread.
            time.sleep(_PAUSE_S)
        if is_terminal:
            sys.stderr.write(f"\r\x1b[K{status_line(pipeline.stats())}")
            sys.stderr.flush()


def _bind(options: RunOptions) -> Any:
    from fgd_yolo.streams.web import bind
    from fgd_yolo.streams.web.server import split_address

    return bind(*split_address(options.web), _token(options))


def _token(options: RunOptions) -> str | None:
    return options.token or os.environ.get(TOKEN_VARIABLE) or None


def _latest_frames() -> Any:
    from fgd_yolo.streams.web.latest_frames import LatestFrames

    return LatestFrames()


def _app(pipeline: Pipeline, frames: Any, options: RunOptions) -> Any:
    from fgd_yolo.streams.web import create_app
    from fgd_yolo.streams.web.stream_control import StreamSettings

    settings = {name: StreamSettings(stream.source, stream.policy) for name, stream in options.streams.items()}
    return create_app(pipeline, frames, token=_token(options), settings=settings)
