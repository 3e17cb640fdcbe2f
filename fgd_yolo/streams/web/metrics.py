"""The statistics of all streams in the Prometheus exposition format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_COUNTERS = {
    "seen": ("fgd_frames_seen", "Frames received from the source"),
    "inferred": ("fgd_frames_inferred", "Frames that went through the detector"),
    "delivered": ("fgd_results_delivered", "Results handed to the sinks"),
    "reconnects": ("fgd_reconnects", "Reconnections of a lost source"),
}


def to_prometheus(stats: dict[str, Any], encoded: int) -> bytes:
    """Return the exposition text.

    Args:
        stats: the statistics, as `Pipeline.stats` returns them.
        encoded: number of frames encoded for viewers so far.
    """
    registry = CollectorRegistry()  # not the global one: another application in this process may use the same names
    registry.register(_Collector(lambda: _families(stats, encoded)))
    return generate_latest(registry)


class _Collector:
    """The collector that the registry calls; it creates the metric families for each request."""

    def __init__(self, collect: Callable[[], Iterator[Metric]]):
        self.collect = collect


def _families(stats: dict[str, Any], encoded: int) -> Iterator[Metric]:
    streams = stats["streams"]
    for key, (name, text) in _COUNTERS.items():
        counter = CounterMetricFamily(name, text, labels=["stream"])
        for stream, numbers in streams.items():
            counter.add_metric([stream], numbers[key])
        yield counter
    dropped = CounterMetricFamily("fgd_frames_dropped", "Frames dropped, by cause", labels=["stream", "cause"])
    up = GaugeMetricFamily("fgd_stream_up", "1 while the stream delivers frames", labels=["stream"])
    ages = HistogramMetricFamily("fgd_frame_age_seconds", "Age since arrival at each stage", labels=["stream", "stage"])
    for stream, numbers in streams.items():
        up.add_metric([stream], numbers["state"] == "UP")
        for cause, count in numbers["dropped"].items():
            dropped.add_metric([stream, cause], count)
        for stage, age in numbers["ages"].items():
            ages.add_metric([stream, stage], buckets=_buckets(age["histogram"]), sum_value=age["sum_s"])
    yield from (dropped, up, ages)
    yield _kept(stats["sinks"])
    yield CounterMetricFamily("fgd_web_frames_encoded", "Frames encoded for viewers", value=encoded)


def _kept(sinks: Sequence[Mapping[str, Any]]) -> Metric:
    kept = CounterMetricFamily("fgd_frames_kept", "Frames kept by --collect, by reason", labels=["stream", "reason"])
    for sink in sinks:
        for stream, reasons in sink.get("kept", {}).items():
            for reason, count in reasons.items():
                kept.add_metric([stream, reason], count)
    return kept


def _buckets(histogram: dict[str, list[float]]) -> list[tuple[str, float]]:
    """Return upper bounds and the cumulative counts at or below each."""
    bounds = [*map(str, histogram["bounds_s"]), "+Inf"]
    return list(zip(bounds, accumulate(histogram["counts"]), strict=True))
