from __future__ import annotations

import pytest

from fgd_yolo.errors import FGDError, UsageError
from fgd_yolo.frames import FrameCounts, gather_frames, hold_out, read_frames
from fgd_yolo.frames.held_out import _last_of_each


def test_the_last_frames_of_each_source_are_held_out(tmp_path, save, film):
    save(tmp_path / "day", **{f"{index}": index for index in range(1, 11)})
    frames = gather_frames([tmp_path / "day", film(tmp_path / "door.mp4", 5, seed=1)])
    train, held = hold_out(frames, 0.2)
    assert [file.resolve().name for file in held.files] == ["9.jpg", "10.jpg", "0000014-door-4.00s.jpg"]
    assert [*train.files, *held.files] == sorted(
        [*train.files, *held.files], key=lambda file: (file.parent != train.folder, file.name)
    )
    for part in (train, held):
        assert part == read_frames(part.folder)
        assert part.counts == FrameCounts(kept=len(part))
        assert part.folder.parent == frames.folder.parent
        for file, shape, content, source in zip(part.files, part.shapes, part.contents, part.sources, strict=True):
            index = [whole.name for whole in frames.files].index(file.name)
            assert (shape, content, source) == (frames.shapes[index], frames.contents[index], frames.sources[index])
            assert file.resolve() == frames.files[index].resolve()
    assert len({train.digest, held.digest, frames.digest}) == 3
    assert hold_out(frames, 0.2) == (train, held)
    assert hold_out(frames, 0.4)[1].files != held.files


@pytest.mark.parametrize(
    ("sizes", "fraction", "expected"),
    [
        ([10], 0.1, [1]),
        ([10, 20, 30], 0.1, [1, 2, 3]),
        ([5] * 4, 0.1, [0, 1, 1, 0]),  # rounded over all sources, not for each
        ([1] * 10, 0.1, None),
        ([3, 3], 0.01, None),  # at least one
        ([2, 1], 0.99, None),  # at least one is left
        ([1, 100], 0.5, None),
    ],
)
def test_a_share_of_all_frames_is_held_out_at_the_end_of_each_source(sizes, fraction, expected):
    sources = [source for source, size in enumerate(sizes) for _ in range(size)]
    held = _last_of_each(sources, fraction)
    counts, start = [], 0
    for size in sizes:
        part = held[start : start + size]
        assert part == sorted(part)  # the last ones
        counts.append(sum(part))
        start += size
    total = sum(sizes)
    assert sum(counts) == min(max(round(total * fraction), 1), total - 1)
    assert expected is None or counts == expected


def test_a_share_that_is_none_and_a_single_frame_are_refused(tmp_path, save):
    frames = gather_frames([save(tmp_path / "day", a=1)])
    for fraction in (0, 1, -0.1, float("nan")):
        with pytest.raises(UsageError, match="must be between 0 and 1"):
            hold_out(frames, fraction)
    with pytest.raises(FGDError, match="one frame cannot be split"):
        hold_out(frames)
