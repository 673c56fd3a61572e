"""Frames: what is encoded is decoded, and nothing else gets through."""

import pickle
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioprocq.errors import ProtocolError
from aioprocq.wire import frames
from aioprocq.wire.frames import INLINE_LIMIT, MAX_FRAME, Ask, Kind

index = st.integers(0, 2**64 - 1)
small = st.integers(0, 2**32 - 1)
payloads = st.lists(st.binary(max_size=40), min_size=1, max_size=30)
reasons = st.text(max_size=60)

DECODERS: list[Callable[[bytes], Any]] = [
    frames.decode_batch,
    frames.decode_items,
    frames.peek_items,
    frames.decode_want,
    frames.decode_need,
    frames.decode_number,
    frames.decode_return,
    frames.decode_request,
    frames.decode_reply,
    frames.decode_flag,
    frames.decode_parcel,
    frames.decode_dead,
]


def test_no_two_kinds_are_the_same_byte():
    assert len({kind.value for kind in Kind}) == len(Kind.__members__)
    assert all(0 < kind < 256 for kind in Kind)


@given(payloads)
def test_batch(items):
    data = frames.encode_batch(items)
    assert data[-1] == Kind.PUT_MANY
    assert frames.decode_batch(data) == items


@given(index, small, payloads)
def test_items(start, attempts, items):
    pickles = [item + b"." for item in items]
    data = frames.encode_items(start, attempts, pickles)
    assert data[-1] == Kind.ITEMS
    decoded = frames.decode_items(data)
    assert decoded[:2] == (start, attempts)
    assert list(decoded.payloads) == pickles
    assert frames.peek_items(data) == (start, len(items))


@given(index, st.booleans(), st.booleans())
def test_want(limit, blocked, linger):
    data = frames.encode_want(limit, blocked=blocked, linger=linger)
    assert data[-1] == Kind.WANT
    assert frames.decode_want(data) == (limit, blocked, linger)


@given(index, index)
def test_need(count, size):
    data = frames.encode_need(count, size)
    assert data[-1] == Kind.NEED
    assert frames.decode_need(data) == (count, size)


@given(index, index)
def test_room(room, room_bytes):
    data = frames.encode_room(room, room_bytes)
    assert data[-1] == Kind.ROOM
    assert frames.decode_need(data) == (room, room_bytes)


@pytest.mark.parametrize(
    ("encode", "kind"),
    [
        (frames.encode_settle, Kind.SETTLE),
        (frames.encode_bounce, Kind.BOUNCE),
        (frames.encode_bounced, Kind.BOUNCED),
        (frames.encode_yield, Kind.YIELD),
        (frames.encode_void, Kind.VOID),
    ],
)
@given(number=index)
def test_numbers(encode, kind, number):
    data = encode(number)
    assert data[-1] == kind
    assert frames.decode_number(data) == number


@given(index, st.booleans(), reasons)
def test_return(number, final, reason):
    data = frames.encode_return(number, final, reason)
    assert data[-1] == Kind.RETURN
    assert frames.decode_return(data) == (number, final, reason)


def test_a_long_reason_is_cut_even_in_the_middle_of_a_character():
    data = frames.encode_return(1, True, "x" + "é" * 5000)
    assert len(data) < 5000
    reason = frames.decode_return(data)[2]
    assert reason.startswith("xéé")
    assert len(reason) == 1 + 2047 + 1


def test_a_reason_that_is_no_text_is_sent_as_far_as_it_is():
    assert frames.decode_return(frames.encode_return(1, False, "a\udc00b"))[2] == "a?b"


@given(small, st.sampled_from(Ask))
def test_request(ident, ask):
    data = frames.encode_request(ident, ask)
    assert data[-1] == Kind.REQUEST
    assert frames.decode_request(data) == (ident, ask)


def test_a_request_of_an_unknown_subject():
    for ask in set(range(256)) - set(Ask):
        data = frames.encode_request(1, ask)  # type: ignore[arg-type]
        with pytest.raises(ProtocolError, match=f"unknown subject {ask}"):
            frames.decode_request(data)


@given(small, small)
def test_reply(ident, value):
    data = frames.encode_reply(ident, value)
    assert data[-1] == Kind.REPLY
    assert frames.decode_reply(data) == (ident, value)


@pytest.mark.parametrize("kind", [Kind.SHUTDOWN, Kind.END, Kind.ANNOUNCE])
@given(value=st.integers(0, 255))
def test_flag(kind, value):
    data = frames.encode_flag(kind, value)
    assert data[-1] == kind
    assert frames.decode_flag(data) == value


@given(index, small, index, st.binary(max_size=200))
def test_parcel(place, attempts, size, head):
    data = frames.encode_parcel(place, attempts, size, head)
    assert data[-1] == Kind.PARCEL
    assert frames.decode_parcel(data) == (place, attempts, size, head)
    assert frames.peek_items(data) == (place, 1)


@given(small, small, reasons, st.binary(max_size=200))
def test_dead(ident, attempts, reason, head):
    data = frames.encode_dead(ident, attempts, reason, head)
    assert data[-1] == Kind.DEAD
    assert frames.decode_dead(data) == (ident, attempts, reason, head)


def test_a_pickle_is_the_frame_that_puts_it():
    assert pickle.dumps("whatever", 5)[-1] == Kind.PUT


def test_frames_of_one_byte_are_their_kind():
    assert bytes([Kind.REPORT]) == frames.REPORT
    assert bytes([Kind.LOOK]) == frames.LOOK


def test_the_longest_of_each_kind_fits_into_a_frame():
    item = bytes(INLINE_LIMIT)
    reason = "é" * 5000
    assert len(frames.encode_batch([item])) <= MAX_FRAME
    assert len(frames.encode_items(2**64 - 1, 3, [item])) <= MAX_FRAME
    assert len(frames.encode_dead(1, 3, reason, item)) <= MAX_FRAME


@pytest.mark.parametrize("decode", DECODERS, ids=lambda f: f.__name__)
@given(data=st.binary(min_size=1, max_size=80))
def test_what_is_no_frame_is_a_protocol_error_or_harmless(decode, data):
    with suppress(ProtocolError):
        decode(data)


@pytest.mark.parametrize("decode", DECODERS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("kind", [Kind.PUT, Kind.PARCEL])
def test_a_frame_with_nothing_but_its_kind(decode, kind):
    with pytest.raises(ProtocolError, match="1 bytes"):
        decode(bytes([kind]))


@pytest.mark.parametrize(
    "data",
    [
        frames.encode_want(7, blocked=True),
        frames.encode_need(1, 2),
        frames.encode_settle(3),
        frames.encode_request(1, Ask.JOIN),
        frames.encode_reply(1, 0),
        frames.encode_flag(Kind.END, 2),
    ],
)
def test_frames_of_a_fixed_length_cut_or_prolonged(data):
    decode = {
        Kind.WANT: frames.decode_want,
        Kind.NEED: frames.decode_need,
        Kind.SETTLE: frames.decode_number,
        Kind.REQUEST: frames.decode_request,
        Kind.REPLY: frames.decode_reply,
        Kind.END: frames.decode_flag,
    }[data[-1]]
    for wrong in (data[1:], b"\0" + data):
        with pytest.raises(ProtocolError, match=f"{len(data)} expected"):
            decode(wrong)


@given(payloads, st.data())
def test_a_batch_that_was_cut_short(items, draw):
    for data, decode in (
        (frames.encode_batch(items), frames.decode_batch),
        (frames.encode_items(3, 0, [i + b"." for i in items]), frames.decode_items),
    ):
        cut = draw.draw(st.integers(1, len(data) - 1))
        with pytest.raises(ProtocolError):
            decode(data[cut:])


def test_a_batch_of_no_items():
    with pytest.raises(ProtocolError, match="a batch of 0 items"):
        frames.decode_batch(b"\0\0\0\0\2")


def test_a_batch_that_says_it_is_longer_than_it_is():
    with pytest.raises(ProtocolError, match="a batch of 1000000 items"):
        frames.decode_batch((1000000).to_bytes(4, "little") + b"\2")


def test_lengths_that_do_not_add_up():
    data = bytearray(frames.encode_batch([b"abc", b"de"]))
    data[5] = 4
    with pytest.raises(ProtocolError, match="do not add up"):
        frames.decode_batch(bytes(data))


def test_a_dead_letter_whose_reason_is_longer_than_itself():
    data = bytearray(frames.encode_dead(1, 1, "why", b"head"))
    data[-5] = 200
    with pytest.raises(ProtocolError, match="longer than its frame"):
        frames.decode_dead(bytes(data))
