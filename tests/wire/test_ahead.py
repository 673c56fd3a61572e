from __future__ import annotations

import copyreg
from collections.abc import Iterator
from decimal import Decimal
from pickle import dumps
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioprocq.wire.ahead import SEALED, Opened, bare, open_ahead
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
    data = encode_list(pickles)
    return Batch(data, len(pickles), len(data))


def items_of(opened: tuple[list[object], bool] | None) -> list[object]:
    assert opened is not None
    items, plain = opened
    assert plain == (not any(isinstance(item, Opened) for item in items))
    return [item.item if isinstance(item, Opened) else item for item in items]


def test_items_are_opened_in_their_order() -> None:
    items = [{"id": 1, "args": [1, 2.5]}, "text", (1, {2}), 10**30, True]
    assert open_ahead(pickled(*items)) == (items, True)


def test_what_could_be_mistaken_for_a_payload_or_for_none_is_wrapped() -> None:
    found = open_ahead(pickled(b"bytes", None, 1))
    assert items_of(found) == [b"bytes", None, 1]
    assert found is not None
    opened, plain = found
    assert not plain
    assert [type(item) in SEALED for item in opened] == [True, True, False]
    assert repr(opened[0]) == "<opened b'bytes'>"
    assert bare(opened) == [b"bytes", None, 1]
    assert bare(opened[2:]) == [1]


def test_numbers_and_texts_look_like_opcodes_and_are_none() -> None:
    items = [*range(0x10000), *"Ö×“”Ó", *range(0x93000000, 0x93000100)]
    for at in range(0, len(items), 100):
        batch = items[at : at + 100]
        opened = open_ahead(pickled(*batch))
        assert opened in ((batch, True), None)
    ids = [{"id": number} for number in range(200)]
    assert open_ahead(pickled(*ids)) == (ids, True)


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
    assert open_ahead(pickled("Ó" * 99)) == (["Ó" * 99], True)
    assert open_ahead(pickled("Ó" * 101)) is None


@given(st.lists(plain, min_size=1))
def test_plain_items_are_opened_or_wait(items: list[object]) -> None:
    opened = open_ahead(pickled(*items))
    if opened is not None:
        assert items_of(opened) == items


@given(st.lists(plain), plain)
def test_nothing_is_called_ahead(items: list[object], before: object) -> None:
    batch = [*items, [before, "Decimal", Decimal(2)]]
    assert open_ahead(pickled(*batch)) is None
