import random

from fgd_yolo.streams.scheduling.reorder import Order


def given_out(order):
    items = []
    while (item := order.due()) is not None:
        items.append(item)
        order.done()
    return items


def test_what_was_overtaken_comes_first():
    order = Order(4)
    first, second, third = order.start(), order.start(), order.start()
    order.finish(third, "third")
    order.finish(second, "second")
    assert given_out(order) == []
    order.finish(first, "first")
    assert given_out(order) == ["first", "second", "third"]
    assert given_out(order) == []


def test_a_frame_without_a_result_holds_nobody_up():
    order = Order(4)
    first, second = order.start(), order.start()
    order.finish(second, "second")
    order.finish(first, None)
    assert given_out(order) == ["second"]


def test_finished_ones_behind_a_slow_one_count_against_the_limit():
    order = Order(2)
    first, second = order.start(), order.start()
    order.finish(second, "second")
    given_out(order)
    assert order.full and len(order) == 2
    order.finish(first, "first")
    given_out(order)
    assert not order.full and len(order) == 0


def test_what_is_due_counts_as_on_its_way_until_it_was_given_out():
    order = Order(1)
    order.finish(order.start(), "first")
    assert order.due() == order.due() == "first"
    assert order.full
    order.done()
    assert not order.full and order.due() is None


def test_after_giving_up_the_finished_ones_come_and_the_late_one_is_not_waited_for():
    order = Order(4)
    first, second, third = order.start(), order.start(), order.start()
    order.finish(second, "second")
    assert order.abandon() == 2
    assert given_out(order) == ["second"]
    assert not any(map(order.waits_for, (first, second, third)))
    assert len(order) == 0


def test_only_started_and_unfinished_tickets_are_waited_for():
    order = Order(4)
    assert not order.waits_for(0)
    first, second = order.start(), order.start()
    assert order.waits_for(first) and order.waits_for(second)
    order.finish(second, "second")
    assert order.waits_for(first) and not order.waits_for(second)


def test_any_sequence_comes_out_in_order_and_whole():
    draw = random.Random(0)
    for _ in range(50):
        order, running, given, started = Order(5), [], [], 0
        while started < 40 or running:
            if started < 40 and not order.full and draw.random() < 0.6:
                running.append(order.start())
                started += 1
            elif running:
                ticket = running.pop(draw.randrange(len(running)))
                order.finish(ticket, ticket)
                given += given_out(order)
            assert len(order) <= 5
        assert given == list(range(40))
