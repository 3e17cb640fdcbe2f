"""Which frames of a stream are worth learning from. Nothing here reads a clock or a file, so the same frames give the
same choice.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

REASONS = {
    "flicker": "a track is missing in it and returns within a second, or lives for less than half a second",
    "uncertain": "an object has a confidence that is barely above the threshold",
    "ordinary": "the next frame after a fixed time, whatever is on it",
}
"""Why a frame is kept; a frame with several reasons has the first."""
UNCERTAIN_SHARE = 0.2
"""An object is uncertain in this lowest part of the range from the confidence threshold to 1."""
RETURN_WITHIN_S = 1.0
"""A track that is missing for longer has ended; `ObjectTracker` gives no later object its id."""
BRIEF_S = 0.5
"""A track that ended after less than this time has flickered."""

_HOUR_S = 3600.0
_SHORT_S, _SHORT_SHARE = 360.0, 0.1  # so that one busy moment does not use up the hour
_LONGEST_PAUSE_S = 1.0
_ORDINARY_SHARE = 0.1  # of the frames of an hour

Item = TypeVar("Item")


class Choice(NamedTuple, Generic[Item]):
    """A frame to keep, which may be an earlier one, and the reason."""

    item: Item
    reason: str


class FrameChooser(Generic[Item]):
    """Chooses the frames of one stream, at most one at a time.

    Convention:
        Times are seconds of the stream, which never go back. Never more than `per_hour` frames are chosen in an hour,
        nor more than a tenth of them in six minutes for another reason than `ordinary`. After a frame was compared with
        those that were kept, none is for a second, or for `3600 / per_hour` seconds if that is less.
    Args:
        per_hour: limit of frames in an hour, at least 1.
        threshold: the detector's confidence threshold, in [0, 1].
        is_new: whether a frame is no near-duplicate of one that it accepted; called only for a frame that is then kept
            if it is new.
    """

    def __init__(self, per_hour: int, threshold: float, is_new: Callable[[Item], bool]):
        self._threshold, self._is_new = threshold, is_new
        self._tracks: TrackWatch[Item] = TrackWatch()
        self._budget = _Budget(per_hour)

    def choose(
        self, now_s: float, scores: Sequence[float], track_ids: Collection[int] | None, item: Item
    ) -> Choice[Item] | None:
        """Return the frame to keep now, if any: this one, or an earlier one in which a track flickered.

        Args:
            now_s: time of the frame.
            scores: confidences of its objects, in [0, 1].
            track_ids: ids of the tracks on it; None for a stream without tracking.
            item: the frame.
        """
        choices = [] if track_ids is None else self._flickers(now_s, track_ids, item)
        if is_uncertain(scores, self._threshold):
            choices.append(Choice(item, "uncertain"))
        choices.append(Choice(item, "ordinary"))
        choice = next((choice for choice in choices if self._budget.allows(now_s, choice.reason)), None)
        if choice is None:
            return None
        self._budget.compared_s = now_s
        if not self._is_new(choice.item):
            return None
        self._budget.spend(now_s, choice.reason)
        return choice

    def gap(self) -> None:
        """Forget all tracks: frames are missing, so that they may have ended at any time."""
        self._tracks = TrackWatch()

    def _flickers(self, now_s: float, track_ids: Collection[int], item: Item) -> list[Choice[Item]]:
        return [Choice(one, "flicker") for one in self._tracks.see(now_s, track_ids, item)]


def is_uncertain(scores: Sequence[float], threshold: float) -> bool:
    """Return whether an object's confidence is in the lowest fifth of the range from the threshold to 1.

    Examples:
        >>> is_uncertain([0.9, 0.39], 0.25), is_uncertain([0.9, 0.41], 0.25)
        (True, False)
    """
    return any(score < threshold + UNCERTAIN_SHARE * (1 - threshold) for score in scores)


@dataclass
class _Track:
    """What is remembered of a track: enough to see that it flickers."""

    first_s: float
    last_s: float
    missing_s: float | None = None  # when it was first seen to be missing

    @property
    def is_young(self) -> bool:
        return self.last_s - self.first_s < BRIEF_S


@dataclass
class _Held(Generic[Item]):
    """A frame, and the tracks of which one may turn out to flicker on it."""

    item: Item
    ids: set[int]


class TrackWatch(Generic[Item]):
    """Finds the frames of one stream on which a track flickers.

    A track flickers if it is missing and returns within a second, which shows on the first frame without it, or if it
    ends within half a second of its start, which shows on a frame with it. Both are known only later. Until then one
    frame of each kind is held, however many tracks there are; what happens to others meanwhile is not reported.
    """

    def __init__(self) -> None:
        self._tracks: dict[int, _Track] = {}
        self._without: _Held[Item] | None = None
        self._with: _Held[Item] | None = None

    def see(self, now_s: float, track_ids: Collection[int], item: Item) -> list[Item]:
        """Take the next frame; return the held frames, at most two, on which a track is now known to flicker."""
        seen = {track_id for track_id in track_ids if track_id >= 0}
        ended = {one: track for one, track in self._tracks.items() if now_s - track.last_s > RETURN_WITHIN_S}
        self._tracks = {one: track for one, track in self._tracks.items() if one not in ended}
        flickers = []
        if self._without and self._without.ids & seen & self._tracks.keys():
            flickers.append(self._without.item)
            self._without = None
        if self._with and any(_was_brief(ended[one]) for one in self._with.ids & ended.keys()):
            flickers.append(self._with.item)
            self._with = None
        self._update(now_s, seen)
        self._without = _hold(self._without, self._tracks.keys() - ended.keys(), item, self._tracks.keys() - seen)
        young = {one for one, track in self._tracks.items() if track.is_young}
        self._with = _hold(self._with, young - ended.keys(), item, young & seen)
        return flickers

    def _update(self, now_s: float, seen: set[int]) -> None:
        for one in seen:
            track = self._tracks.setdefault(one, _Track(now_s, now_s))
            track.last_s, track.missing_s = now_s, None
        for one in self._tracks.keys() - seen:
            track = self._tracks[one]
            track.missing_s = now_s if track.missing_s is None else track.missing_s


def _hold(held: _Held[Item] | None, possible: set[int], item: Item, ids: set[int]) -> _Held[Item] | None:
    """Return what to hold from now on: the same frame while it has a possible track, else the new one if it has any."""
    if held and held.ids & possible:
        return _Held(held.item, held.ids & possible)
    return _Held(item, ids) if ids else None


def _was_brief(track: _Track) -> bool:
    """Whether a track that ended was short. It was not if no frame came after its last one for a while."""
    return track.is_young and track.missing_s is not None and track.missing_s - track.last_s < BRIEF_S


class _Budget:
    """How many frames may still be kept. `compared_s` is when a frame was last compared with those that were kept."""

    def __init__(self, per_hour: int):
        self._per_hour = per_hour
        self._reserved = int(per_hour * _ORDINARY_SHARE)  # for ordinary frames
        self._pause_s = min(_LONGEST_PAUSE_S, _HOUR_S / per_hour)
        self._ordinary_every_s = _HOUR_S / (per_hour * _ORDINARY_SHARE)
        self._ordinary_s = self.compared_s = -math.inf
        self._kept: list[float] = []  # of the last hour, oldest first
        self._kept_for_a_reason: list[float] = []  # the same without the ordinary ones

    def allows(self, now_s: float, reason: str) -> bool:
        """Return whether a frame may be kept for a reason."""
        if now_s - self.compared_s < self._pause_s or _recent(self._kept, now_s, _HOUR_S) >= self._per_hour:
            return False
        if reason == "ordinary":
            return now_s - self._ordinary_s >= self._ordinary_every_s
        in_hour, in_short = (_recent(self._kept_for_a_reason, now_s, span_s) for span_s in (_HOUR_S, _SHORT_S))
        return in_hour < self._per_hour - self._reserved and in_short < math.ceil(self._per_hour * _SHORT_SHARE)

    def spend(self, now_s: float, reason: str) -> None:
        """Count a frame that was kept."""
        if reason == "ordinary":
            self._ordinary_s = now_s
        for times in (self._kept, *([] if reason == "ordinary" else [self._kept_for_a_reason])):
            del times[: bisect_right(times, now_s - _HOUR_S)]
            times.append(now_s)


def _recent(times: Sequence[float], now_s: float, span_s: float) -> int:
    return len(times) - bisect_right(times, now_s - span_s)
