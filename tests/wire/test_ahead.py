from __future__ import annotations

import copyreg
from collections.abc import Iterator
from decimal import Decimal
from pickle import dumps
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioprocq.wire.ahead import Opened, open_ahead, wrapped
from aioprocq.wire.batch import Batch, encode_list

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    # A text of names makes the pickler take them from its memo.
    | st.text()
    | st.binary()
    | st.sampled_from(["Decimal", "decimal", "\x93\x94h"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


class Ordinary:
    pass


def pickled(*items: Any) -> Batch:
    return batch_of([dumps(item, 5) for item in items])


def batch_of(pickles: list[bytes]) -> Batch:
    data = encode_list(pickles, list(map(len, pickles)), b"")
    return Batch(data, len(pickles), len(data))


def test_items_are_opened_in_their_order() -> None:
    items = [{"id": 1, "args": [1, 2.5]}, "text", (1, {2}), 10**30, True]
    assert open_ahead(pickled(*items)) == items


def test_what_could_be_mistaken_for_a_payload_or_for_none_is_wrapped() -> None:
    items = open_ahead(pickled(b"bytes", None, 1))
    assert items == [b"bytes", None, 1]
    first, second, third = map(wrapped, items)
    assert isinstance(first, Opened)
    assert isinstance(second, Opened)
    assert (first.item, second.item, third) == (b"bytes", None, 1)
    assert repr(first) == "<opened b'bytes'>"


def test_numbers_and_texts_look_like_opcodes_and_are_none() -> None:
    items = [*range(0x10000), *"Ö×“”Ó", *range(0x93000000, 0x93000100)]
    for at in range(0, len(items), 100):
        batch = items[at : at + 100]
        opened = open_ahead(pickled(*batch))
        assert opened in (batch, None)
    ids = [{"id": number} for number in range(200)]
    assert open_ahead(pickled(*ids)) == ids


def many_names_before(item: object) -> list[object]:
    """So many that the memo's short numbers are used up."""
    return [*(f"name {number}" for number in range(300)), type(item).__name__, item]


@pytest.mark.parametrize(
    "item",
    [
        Decimal(1),
        Ordinary(),
        Ordinary,
        len,
        1j,
        ValueError("x"),
        ["Decimal", Decimal(1)],
        ["decimal", "Decimal", Decimal(1)],
        many_names_before(Decimal(1)),
        many_names_before(Ordinary()),
        [147, 0x9301, "Ó", Ordinary()],
    ],
    ids=lambda item: f"{type(item).__name__}",
)
def test_what_may_call_something_waits_for_its_turn(item: object) -> None:
    assert open_ahead(pickled(1, item, 2)) is None


@pytest.fixture
def extension() -> Iterator[None]:
    copyreg.add_extension(__name__, "Ordinary", 0xA10)
    yield
    copyreg.remove_extension(__name__, "Ordinary", 0xA10)


@pytest.mark.usefixtures("extension")
def test_with_extensions_every_item_waits_for_its_turn() -> None:
    data = dumps(Ordinary(), 5)
    assert b"\x93" not in data
    assert open_ahead(batch_of([data, data])) is None


def test_where_one_fails_all_wait_for_their_turn() -> None:
    one = dumps(1, 5)
    assert open_ahead(batch_of([one, b"\x80\x05N\xff."])) is None
    unhashable = b"\x80\x05}]Ns."
    assert open_ahead(batch_of([unhashable, one])) is None, "no dictionary has this key"


def test_one_does_not_look_for_ever() -> None:
    assert open_ahead(pickled("Ó" * 99)) == ["Ó" * 99]
    assert open_ahead(pickled("Ó" * 101)) is None


@given(st.lists(plain, min_size=1))
def test_plain_items_are_opened_or_wait(items: list[object]) -> None:
    opened = open_ahead(pickled(*items))
    if opened is not None:
        assert opened == items


@given(st.lists(plain), plain)
def test_nothing_is_called_ahead(items: list[object], before: object) -> None:
    batch = [*items, [before, "Decimal", Decimal(2)]]
    assert open_ahead(pickled(*batch)) is None
