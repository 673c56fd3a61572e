"""Payloads: what becomes of an item before it travels, and who closes what."""

import array
import os
import pickle
import sys
import threading
from contextlib import suppress
from pickle import PickleBuffer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioprocq.errors import CannotTravel, ProtocolError
from aioprocq.wire import payload as module
from aioprocq.wire.frames import INLINE_LIMIT
from aioprocq.wire.payload import (
    OUT_OF_BAND,
    Descriptor,
    Draft,
    Expectations,
    Parcel,
    ParcelHead,
    carry,
    decode_head,
    encode_head,
    pack_item,
    receive_carried,
    size_of,
    unpacking,
)

LARGE = OUT_OF_BAND


def pipe() -> tuple[Descriptor, Descriptor]:
    reading, writing = os.pipe()
    return Descriptor(reading), Descriptor(writing)


def is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


class Buffered:
    """Something with a pickle-5 buffer."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce_ex__(self, protocol):
        return Buffered, (PickleBuffer(self.data),)


class Handle:
    """What a queue is to a pickler: it takes descriptors along."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers

    def __reduce__(self):
        places = carry(self.numbers)
        if places is None:
            raise CannotTravel
        return Handle.arrive, tuple(places)

    @staticmethod
    def arrive(*places: int) -> "Handle":
        return Handle(*map(receive_carried, places))


# Descriptors


def test_a_descriptor_is_closed_once():
    one, other = pipe()
    number = one.fileno()
    assert one.number == number
    one.close()
    assert not is_open(number)
    one.close()
    other.close()


def test_a_descriptor_is_closed_with_its_object():
    one, other = pipe()
    number = one.fileno()
    del one
    assert not is_open(number)
    other.close()


def test_a_descriptor_that_was_given_away_is_not_closed():
    one, other = pipe()
    number = one.detach()
    assert one.fileno() == -1
    del one
    assert is_open(number)
    os.close(number)
    other.close()


# Heads of parcels


@given(
    st.none() | st.binary(max_size=60),
    st.integers(0, 2**64 - 1),
    st.lists(st.integers(0, 2**64 - 1), max_size=8),
    st.integers(0, 2**31 - 1),
)
def test_heads(inline, length, buffers, carried):
    head = ParcelHead(inline, length, tuple(buffers), carried)
    data = encode_head(head)
    assert data[0] == 0, "a pickle begins with 0x80"
    assert decode_head(data) == head


@given(st.binary(max_size=60))
def test_what_is_no_head(data):
    with suppress(ProtocolError):
        head = decode_head(data)
        assert encode_head(head)[:17] == data[:17]


@given(st.lists(st.integers(0, 99), min_size=1, max_size=4), st.data())
def test_a_head_that_is_cut_short(buffers, draw):
    data = encode_head(ParcelHead(None, 1, tuple(buffers), 0))
    cut = draw.draw(st.integers(0, len(data) - 1))
    with pytest.raises(ProtocolError, match="cut short"):
        decode_head(data[:cut])


def test_a_pickle_is_no_head():
    with pytest.raises(ProtocolError, match="does not begin like one"):
        decode_head(b"\x80" + bytes(40))


def test_a_head_of_a_million_buffers():
    data = bytearray(encode_head(ParcelHead(None, 1, (), 0)))
    data[9:13] = (1_000_000).to_bytes(4, "little")
    with pytest.raises(ProtocolError, match="cut short"):
        decode_head(bytes(data))


# Parcels and sizes


def parcel(head: ParcelHead, descriptors: int) -> Parcel:
    given_ = tuple(Descriptor(-1) for _ in range(descriptors))
    return Parcel(encode_head(head), given_, 5)


def test_the_size_of_a_payload():
    assert size_of(b"four") == 4
    assert size_of(parcel(ParcelHead(None, 1, (), 0), 1)) == 5


def test_no_batch_has_room_for_a_parcel():
    assert len(parcel(ParcelHead(None, 1, (), 0), 1)) > 2**32


@pytest.mark.parametrize(
    ("head", "needed"),
    [
        (ParcelHead(None, 9, (9,), 0), 1),
        (ParcelHead(None, 9, (9,), 2), 3),
        (ParcelHead(b"inline", 0, (), 2), 2),
    ],
)
def test_a_parcel_is_complete_with_all_its_descriptors(head, needed):
    assert parcel(head, needed).complete
    assert not parcel(head, needed - 1).complete
    assert not parcel(head, 0).complete


# Packing


@given(st.recursive(st.integers() | st.text() | st.binary(), st.lists, max_leaves=8))
def test_small_items_are_their_pickle(item):
    data = pack_item(item)
    assert isinstance(data, bytes)
    assert data[0] == 0x80
    assert pickle.loads(data) == item


def test_a_pickle_that_is_too_long_for_a_frame():
    item = ["x" * 100] * 10 + [str(n) * 9 for n in range(INLINE_LIMIT // 20)]
    draft = pack_item(item)
    assert isinstance(draft, Draft)
    assert draft.size == len(draft.data) > INLINE_LIMIT
    assert not draft.buffers
    assert not draft.carried
    assert pickle.loads(draft.data) == item


def test_small_buffers_stay_in_the_pickle():
    data = pack_item(Buffered(b"x" * (LARGE - 1)))
    assert isinstance(data, bytes)
    assert bytes(pickle.loads(data).data) == b"x" * (LARGE - 1)


def test_large_buffers_are_set_apart():
    numbers = array.array("d", range(LARGE))
    draft = pack_item([Buffered(numbers), Buffered(b"small"), Buffered(b"y" * LARGE)])
    assert isinstance(draft, Draft)
    assert [b.nbytes for b in draft.buffers] == [8 * LARGE, LARGE]
    assert draft.size == len(draft.data) + 9 * LARGE
    assert len(draft.data) < 500
    first, second, third = pickle.loads(draft.data, buffers=draft.buffers)
    assert first.data.cast("d") == numbers
    assert bytes(second.data) == b"small"
    assert bytes(third.data) == b"y" * LARGE
    assert draft.buffers[0].obj is numbers, "not copied"


def test_pickle_refuses_buffers_that_are_not_contiguous():
    strided = memoryview(bytes(4 * LARGE))[::2]
    assert module.escalate(PickleBuffer(strided))
    with pytest.raises(pickle.PicklingError, match="non-contiguous") as caught:
        pack_item([Buffered(strided)])
    assert "aioprocq: list[0].data cannot be pickled" in caught.value.__notes__[0]


class Unpicklable:
    """A leaf that does not pickle."""

    def __reduce__(self):
        raise TypeError("this one stays here")


class Holder:
    """With a part behind an attribute."""

    def __init__(self, part: object) -> None:
        self.part = part


class Slotted:
    """With parts in slots, one of them empty."""

    __slots__ = ("empty", "part")

    def __init__(self, part: object) -> None:
        self.part = part


class OneSlot(Slotted):
    """With a slot given as a string."""

    __slots__ = "more"

    more: object


class Key(Unpicklable):
    """A key that does not pickle."""

    def __repr__(self) -> str:
        return "Key()"


def with_a_slot(part: object) -> OneSlot:
    item = OneSlot(1)
    item.more = part
    return item


def deep(levels: int) -> list:
    item: list = [Unpicklable()]
    for _ in range(levels):
        item = [item]
    return item


@pytest.mark.parametrize(
    ("item", "path"),
    [
        (Unpicklable(), "Unpicklable"),
        ({"jobs": [1, Unpicklable()]}, "dict['jobs'][1]"),
        ({Key(): 1}, "dict key Key()"),
        ((1, {2, Key()}), "tuple[1] member Key()"),
        (frozenset([Key()]), "frozenset member Key()"),
        (Holder({"a": Holder(Unpicklable())}), "Holder.part['a'].part"),
        (Slotted([Unpicklable()]), "Slotted.part[0]"),
        (with_a_slot(Unpicklable()), "OneSlot.more"),
        (deep(20), "list" + "[0]" * 12),
        ([Buffered(bytes(LARGE)), Unpicklable()], "list[1]"),
        (lambda: None, "function"),
    ],
)
def test_what_does_not_pickle_is_named(item, path):
    with pytest.raises(Exception, match=r"stays here|pickle") as caught:
        pack_item(item)
    (note,) = caught.value.__notes__
    assert note.startswith(f"aioprocq: {path} cannot be pickled")


def test_a_class_that_does_not_pickle_is_not_taken_apart():
    class Local:
        part = Unpicklable()

    with pytest.raises(Exception, match="pickle") as caught:
        pack_item([Local])
    assert "aioprocq: list[0] cannot be pickled" in caught.value.__notes__[0]


def test_a_queue_is_not_what_does_not_pickle():
    with pytest.raises(TypeError) as caught:
        pack_item([Handle(1), Unpicklable()])
    assert "aioprocq: list[1] cannot be pickled" in caught.value.__notes__[0]
    with pytest.raises(TypeError) as caught:
        pack_item({Key(): Handle(1)})
    assert "aioprocq: dict key Key() cannot be pickled" in caught.value.__notes__[0]


# Queues inside items


def test_descriptors_are_carried_along():
    reading, writing = pipe()
    draft = pack_item([Handle(reading.number, writing.number), Handle(reading.number)])
    assert isinstance(draft, Draft)
    numbers = (reading.number, writing.number, reading.number)
    assert tuple(draft.carried) == numbers
    carried = [Descriptor(os.dup(number)) for number in numbers]
    with unpacking(carried):
        one, other = pickle.loads(draft.data)
    mine = [Descriptor(number) for number in (*one.numbers, *other.numbers)]
    assert len({d.number for d in (*carried, *mine, reading, writing)}) == 8
    os.write(mine[1].number, b"through")
    assert os.read(mine[2].number, 10) == b"through"
    for one_of_them in (*carried, *mine, reading, writing):
        one_of_them.close()


def test_nothing_is_carried_outside_of_packing():
    assert carry([1]) is None
    with pytest.raises(CannotTravel):
        pickle.dumps(Handle(1))


def test_a_queue_arrives_only_inside_unpacking():
    with pytest.raises(CannotTravel, match="as an argument"):
        receive_carried(0)
    with unpacking([]), pytest.raises(IndexError):
        receive_carried(0)
    with pytest.raises(CannotTravel):
        receive_carried(0)


def test_unpacking_inside_unpacking():
    reading, writing = pipe()
    with unpacking([reading]):
        with unpacking([writing]):
            inner = Descriptor(receive_carried(0))
        outer = Descriptor(receive_carried(0))
    os.write(inner.number, b"x")
    assert os.read(outer.number, 1) == b"x"
    for one in (reading, writing, inner, outer):
        one.close()


def test_luggage_is_of_one_thread():
    seen: list[object] = []
    with unpacking([]):
        thread = threading.Thread(target=lambda: seen.append(module._luggage.incoming))
        thread.start()
        thread.join()
    assert seen == [None]


def test_luggage_is_put_down_after_a_failure():
    with pytest.raises(TypeError):
        pack_item([Handle(1), Unpicklable()])
    assert carry([1]) is None


def test_large_buffers_are_expected_where_there_are_arrays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expectations = Expectations()
    monkeypatch.delitem(sys.modules, "numpy", raising=False)
    expectations.look()
    assert not expectations.buffers
    monkeypatch.setitem(sys.modules, "numpy", sys)
    expectations.look()
    assert expectations.buffers
    monkeypatch.delitem(sys.modules, "numpy")
    expectations.look()
    assert expectations.buffers
