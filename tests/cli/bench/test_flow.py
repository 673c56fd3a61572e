import pytest

from aioprocq.cli.bench.flow import Flow, Role
from aioprocq.cli.bench.items import make_item
from aioprocq.cli.bench.staff import Span


def test_a_producer_tells_its_share_of_the_consumers():
    assert Flow(Role.BLOCKING, Role.BLOCKING, producers=2, consumers=4).ends == 2
    assert Flow(Role.OWNER, Role.BLOCKING).ends == 1


def test_consumers_must_divide_among_producers():
    with pytest.raises(ValueError, match="as many consumers"):
        Flow(Role.BLOCKING, Role.BLOCKING, producers=2)


def test_the_owner_is_at_one_end_at_most():
    with pytest.raises(ValueError, match="both ends"):
        Flow(Role.OWNER, Role.OWNER)


def test_small_items_unless_it_is_about_arrays():
    assert Flow(Role.OWNER, Role.BLOCKING).items()[1] == make_item(1)
    pytest.importorskip("numpy")
    flow = Flow(Role.OWNER, Role.BLOCKING, array_size=800)
    (array,) = flow.items()
    assert array.nbytes == 800


def test_plain_has_neither_batches_nor_coroutines():
    flow = Flow(Role.ASYNC, Role.ASYNC, batch=10, maxsize=5)
    assert flow.plain() == Flow(Role.BLOCKING, Role.BLOCKING, maxsize=5)
    flow = Flow(Role.OWNER, Role.ASYNC, joinable=True)
    assert flow.plain() == Flow(Role.OWNER, Role.BLOCKING, joinable=True)


def test_plain_keeps_what_a_queue_has():
    flow = Flow(Role.ASYNC, Role.OWNER, batch=10)
    assert flow.plain(batches=True) == Flow(Role.BLOCKING, Role.OWNER, batch=10)
    assert flow.plain(coroutines=True) == Flow(Role.ASYNC, Role.OWNER)


def test_the_rate_is_from_the_first_put_to_the_last_end():
    flow = Flow(Role.BLOCKING, Role.BLOCKING, producers=2, consumers=2)
    producing = [Span(10.0, 13.0), Span(11.0, 12.0)]
    consuming = [Span(1.0, 14.0), Span(2.0, 15.0)]
    assert flow.sample(100, producing, consuming) == {"rate": 20.0}


def test_the_rate_of_arrays_is_in_gigabytes():
    flow = Flow(Role.OWNER, Role.BLOCKING, array_size=500_000_000)
    assert flow.sample(4, [Span(0.0, 1.0)], [Span(0.0, 2.0)]) == {"rate": 1.0}
