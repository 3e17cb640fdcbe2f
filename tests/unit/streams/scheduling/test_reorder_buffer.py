import random

from fgd_yolo.streams.scheduling.reorder_buffer import ReorderBuffer


def pop_all(buffer):
    items = []
    while (item := buffer.peek()) is not None:
        items.append(item)
        buffer.pop()
    return items


def test_a_frame_that_was_overtaken_comes_first():
    buffer = ReorderBuffer(4)
    first, second, third = buffer.start(), buffer.start(), buffer.start()
    buffer.finish(third, "third")
    buffer.finish(second, "second")
    assert pop_all(buffer) == []
    buffer.finish(first, "first")
    assert pop_all(buffer) == ["first", "second", "third"]
    assert pop_all(buffer) == []


def test_a_frame_without_a_result_does_not_block_the_others():
    buffer = ReorderBuffer(4)
    first, second = buffer.start(), buffer.start()
    buffer.finish(second, "second")
    buffer.finish(first, None)
    assert pop_all(buffer) == ["second"]


def test_finished_frames_behind_a_slow_one_count_against_the_limit():
    buffer = ReorderBuffer(2)
    first, second = buffer.start(), buffer.start()
    buffer.finish(second, "second")
    pop_all(buffer)
    assert buffer.full and len(buffer) == 2
    buffer.finish(first, "first")
    pop_all(buffer)
    assert not buffer.full and len(buffer) == 0


def test_the_next_result_counts_as_in_flight_until_it_is_removed():
    buffer = ReorderBuffer(1)
    buffer.finish(buffer.start(), "first")
    assert buffer.peek() == buffer.peek() == "first"
    assert buffer.full
    buffer.pop()
    assert not buffer.full and buffer.peek() is None


def test_after_abandoning_finished_results_follow_and_a_late_one_is_ignored():
    buffer = ReorderBuffer(4)
    first, second, third = buffer.start(), buffer.start(), buffer.start()
    buffer.finish(second, "second")
    assert buffer.abandon() == 2
    assert pop_all(buffer) == ["second"]
    assert not any(map(buffer.is_pending, (first, second, third)))
    assert len(buffer) == 0


def test_only_started_and_unfinished_tickets_are_pending():
    buffer = ReorderBuffer(4)
    assert not buffer.is_pending(0)
    first, second = buffer.start(), buffer.start()
    assert buffer.is_pending(first) and buffer.is_pending(second)
    buffer.finish(second, "second")
    assert buffer.is_pending(first) and not buffer.is_pending(second)


def test_any_sequence_is_returned_in_order_and_complete():
    draw = random.Random(0)
    for _ in range(50):
        buffer, running, given, started = ReorderBuffer(5), [], [], 0
        while started < 40 or running:
            if started < 40 and not buffer.full and draw.random() < 0.6:
                running.append(buffer.start())
                started += 1
            elif running:
                ticket = running.pop(draw.randrange(len(running)))
                buffer.finish(ticket, ticket)
                given += pop_all(buffer)
            assert len(buffer) <= 5
        assert given == list(range(40))
