from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aioprocq.drivers import mappings as module
from aioprocq.drivers.mappings import Identity, Mappings, map_to_read
from aioprocq.drivers.pool import Segment
from aioprocq.drivers.transport import PORTABLE
from aioprocq.wire.payload import Descriptor

from .stations import LARGE

pytestmark = pytest.mark.skipif(PORTABLE, reason="segments are used once there")


@pytest.fixture
def mapped() -> Iterator[Mappings]:
    one = Mappings(most=3, patience=10)
    yield one
    one.close()


def written(segment: Segment, data: bytes) -> Descriptor:
    """The claim of an item that was written into a segment."""
    assert segment.ask()
    claim = segment.take_claim()
    segment.write([(0, memoryview(data))])
    return claim


def identity(segment: Segment) -> Identity:
    status = os.fstat(segment.fileno())
    return status.st_dev, status.st_ino, segment.key


def look(mapped: Mappings, segment: Segment, claim: Descriptor) -> memoryview:
    view = mapped.view(claim, identity(segment), segment.capacity)
    assert view is not None
    return view


def maps() -> int:
    return Path("/proc/self/maps").read_text().count("aioprocq-segment")


def test_the_second_view_needs_no_second_mapping(mapped: Mappings) -> None:
    segment = Segment(LARGE)
    before = maps()
    first = look(mapped, segment, written(segment, b"one"))
    assert bytes(first[:3]) == b"one"
    assert (first.readonly, first.format, first.nbytes) == (True, "B", LARGE)
    del first
    second = look(mapped, segment, written(segment, b"two"))
    assert bytes(second[:3]) == b"two"
    assert len(mapped) == 1
    assert maps() - before == 2, "one of them to write, in this process too"


def test_a_view_and_what_is_made_of_it_hold_the_claim(mapped: Mappings) -> None:
    segment = Segment(LARGE)
    view = look(mapped, segment, written(segment, b"some text"))
    part = view[5:9]
    words = part.cast("I")
    del view, part
    assert not segment.ask()
    assert words.tobytes() == b"text"
    del words
    assert segment.ask()


def test_a_view_in_a_cycle_holds_until_the_cycle_is_found(mapped: Mappings) -> None:
    segment = Segment(LARGE)
    circle: list[Any] = [look(mapped, segment, written(segment, b"x"))]
    circle.append(circle)
    del circle
    gc.collect()
    assert segment.ask()


def test_views_outlive_the_mappings(mapped: Mappings) -> None:
    segment = Segment(LARGE)
    before = maps()
    view = look(mapped, segment, written(segment, b"some text"))
    mapped.close()
    assert len(mapped) == 0
    assert bytes(view[:9]) == b"some text"
    assert maps() == before + 1
    del view
    assert maps() == before
    assert segment.ask()


def test_after_closing_nothing_is_kept(mapped: Mappings) -> None:
    mapped.close()
    segment = Segment(LARGE)
    view = look(mapped, segment, written(segment, b"text"))
    assert bytes(view[:4]) == b"text"
    assert len(mapped) == 0
    assert repr(mapped) == "<mappings 0 of 0, 1 views>"


def test_the_one_used_longest_ago_is_dropped(mapped: Mappings) -> None:
    segments = [Segment(LARGE) for _ in range(4)]
    for segment in (*segments[:3], segments[0], segments[3]):
        look(mapped, segment, written(segment, b"x"))
    assert set(mapped._found) == {identity(segments[at]) for at in (0, 2, 3)}


def test_one_that_is_not_used_any_more_is_dropped(mapped: Mappings) -> None:
    once, often = Segment(LARGE), Segment(LARGE)
    look(mapped, once, written(once, b"x"))
    for _ in range(10):
        look(mapped, often, written(often, b"x"))
    assert len(mapped) == 2
    look(mapped, often, written(often, b"x"))
    assert set(mapped._found) == {identity(often)}


def test_another_segment_of_the_same_number_is_not_taken_for_the_first(
    mapped: Mappings,
) -> None:
    first, second = Segment(LARGE), Segment(LARGE)
    look(mapped, first, written(first, b"first"))
    device, inode, _ = identity(first)
    recycled = device, inode, second.key
    view = mapped.view(written(second, b"second"), recycled, second.capacity)
    assert view is not None
    assert bytes(view[:6]) == b"second"


def test_what_cannot_be_mapped_is_not_kept_and_nothing_else_is(
    mapped: Mappings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_free(number: int) -> int:
        raise OSError(errno.EMFILE, "too many open files")

    one, other = Segment(LARGE), Segment(LARGE)
    look(mapped, one, written(one, b"x"))
    monkeypatch.setattr(module, "reopen", none_free)
    assert mapped.view(written(other, b"x"), identity(other), LARGE) is None
    assert len(mapped) == 0


def test_without_ctypes_nothing_is_kept(
    mapped: Mappings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ctypes", None)
    segment = Segment(LARGE)
    assert mapped.view(written(segment, b"x"), identity(segment), LARGE) is None


def test_a_mapping_to_read_is_not_written() -> None:
    segment = Segment(LARGE)
    mapping = map_to_read(segment.fileno(), LARGE)
    with pytest.raises(TypeError, match="readonly"):
        mapping[0] = 1
    mapping.close()
