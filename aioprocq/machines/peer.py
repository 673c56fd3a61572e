"""The peer: one process's side of its connection to a hub.

It does no I/O and reads no clock. A driver gives it the frames that come down
and carries out what it decides: frames in ``outbox``, waiters in ``woken``.

Invariants:

* ``handed`` is announced in the page before an item leaves ``items``; once the
  hub has asked for what is left (a new epoch), nothing more leaves.
* ``put`` is announced in the page before an item is sent; nothing is sent
  beyond the room that the page showed after that.
* While ``sealed`` is a batch that nobody has taken apart yet, ``items`` is empty;
  ``later`` comes after both. ``open``: a batch was opened, and what is in ``items``
  is what users get; ``opening``: somebody is about to open one.
* ``unannounced``: a getter waits, and only the page says so; for a while.
* While a getter waits, the hub owes this peer items, or a frame is in the
  outbox that asks for some, or the hub is to say that it knows what bounced.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import repeat, starmap

from ..errors import ProtocolError
from ..wire import frames as wire
from ..wire.ahead import wrapped
from ..wire.batch import Batch
from ..wire.frames import Ask, Kind
from ..wire.page import (
    ABSORBED,
    ALERT,
    ANNOUNCE_WAITS,
    ARRIVED,
    COUNTED,
    EPOCH,
    HANDED,
    NEVER,
    PUT,
    RECALLED,
    SETTLED,
    WAITS,
    Page,
    State,
)
from ..wire.payload import Parcel, Payload
from .pace import Pace
from .record import DeadRecord, Waiter
from .settling import Settling

__all__ = ["Answer", "Peer"]


class Answer:
    """The answer to a request, as far as it has come."""

    __slots__ = ("ask", "letters", "value", "waiter")

    def __init__(self, ask: Ask, waiter: Waiter) -> None:
        self.ask = ask
        self.waiter = waiter
        self.value: int | None = None
        self.letters: list[DeadRecord] = []

    @property
    def complete(self) -> bool:
        """Whether nothing more will come.

        What the hub has taken back in the middle of an answer comes after the rest.
        """
        if self.ask is not Ask.DEAD_LETTERS:
            return self.value is not None
        return self.value == len(self.letters)


class Peer(Settling):
    """What one process knows of a queue that another one owns."""

    __slots__ = (
        "_called",
        "_ident",
        "_lingers",
        "_reported",
        "answers",
        "attempts",
        "bouncing",
        "failure",
        "getters",
        "later",
        "limit",
        "looking",
        "open",
        "opening",
        "pace",
        "received",
        "sealed",
        "unannounced",
    )

    def __init__(self, page: Page, *, joinable: bool, sized: bool) -> None:
        super().__init__(page, joinable=joinable, sized=sized)
        self.sealed: Batch | None = None
        self.open = self.opening = False
        self.attempts = 0
        self.later: deque[tuple[int, int, Sequence[Payload] | Batch]] = deque()
        self.received = self.limit = 0
        self.getters: deque[Waiter] = deque()
        self.answers: dict[int, Answer] = {}
        self.pace = Pace()
        self.failure: OSError | None = None
        self._called = 0
        self._reported = 0  # the alert that was reported last
        self.bouncing = False
        self._lingers = self.unannounced = self.looking = False
        self._ident = 0

    # Getting

    def take(self) -> object:
        """Hand out the next item that is here; None: there is none.

        One of a batch that was opened is wrapped, if it could be mistaken. Its lane
        index is ``handed - 1``, its failed attempts are ``attempts``.
        """
        if self.free is not None:
            self.catch_up()
        items = self.items
        if not items and not self._unseal():
            return None
        page, handed = self.page, self.handed + 1
        page[HANDED] = handed
        alert = page[ALERT]
        if alert and alert <= handed and not self._may_hand_out(handed, alert):
            return None
        self.handed = handed
        item = items.popleft()
        if not items and self.pace.ahead and not self.later:
            self.ask_ahead()
        return wrapped(item) if self.open else item

    def take_many(self, most: int) -> list[object]:
        """Hand out several items of an open batch, if the hub need not hear of each.

        Their lane indexes end at ``handed - 1``.
        """
        self.catch_up()
        self.free_once = self.last  # who gets several at once has no use for that
        items, page, before = self.items, self.page, self.handed
        alert = page[ALERT] or NEVER
        count = min(most, len(items), alert - before - 1) if self.open else 0
        if count <= 0:
            return []
        page[HANDED] = handed = before + count
        alert = page[ALERT]
        if alert and alert <= handed and not self._may_hand_out(handed, alert, count):
            return []
        self.handed = handed
        if count == len(items):
            taken = list(items)
            items.clear()
        else:
            taken = list(starmap(items.popleft, repeat((), count)))
        if not items and self.pace.ahead and not self.later:
            self.ask_ahead()
        return taken

    def next_sealed(self) -> Batch | None:
        """What comes next, nothing else being here: a batch that is to be opened?

        Who gets one says what came of that, with ``opened``.
        """
        if self.sealed is None and self.later:
            self.handed, self.attempts, payloads = self.later.popleft()
            self._begin_batch(payloads)
        if self.sealed is None or self.opening:
            return None
        self.opening = True
        return self.sealed

    def opened(self, batch: Batch, start: int, items: list[object] | None) -> None:
        """The batch that began at lane index ``start`` was opened; None: it was not.

        Somebody else may have taken it apart meanwhile, and some of its items.
        """
        self.opening = False
        if items is None:
            return
        left = items[self.handed - start :] if self.handed > start else items
        if self.sealed is batch:
            self.sealed = None
        # A lane index is used once, so this is the same batch, or what is left.
        elif not left or len(left) != len(self.items):
            return
        self.items = deque(left)
        self.last = start + len(items)
        self.open = True

    def _begin_batch(self, payloads: Sequence[Payload] | Batch) -> None:
        self.open = False
        if isinstance(payloads, Batch):
            self.sealed = payloads
        else:
            self.items.extend(payloads)
            self.last = self.handed + len(self.items)

    def _unseal(self) -> bool:
        if self.sealed is None and self.later:
            self.handed, self.attempts, payloads = self.later.popleft()
            self._begin_batch(payloads)
        if self.sealed is not None:
            self.items.extend(self.sealed)
            self.last = self.handed + len(self.items)
            self.sealed = None
        return bool(self.items)

    def _may_hand_out(self, handed: int, alert: int, count: int = 1) -> bool:
        page = self.page
        # What the hub had counted as handed out before it asked for the rest, is.
        if page[EPOCH] != self.epoch and page[RECALLED] < handed:
            page[HANDED] = handed - count
            self._yield()
            return False
        # One report for each alert: the hub gives another number if it wants another.
        # For the alert that was found after this was announced: a new one may be there.
        if alert != self._reported:
            self._reported = alert
            self.outbox.append(wire.REPORT)
        return True

    def yield_if_asked(self) -> None:
        """Give back what is here and not handed out, if the hub has asked for it."""
        if self.page[EPOCH] != self.epoch:
            self._yield()

    def _yield(self) -> None:
        # Everything that was read before this moment belongs to the hub again,
        # and it sends nothing more until it has read this. Not what it had counted as
        # handed out, because it was announced, if that had to be taken back.
        self.catch_up()
        self.epoch = self.page[EPOCH]
        kept = list(self.items)[: max(0, self.page[RECALLED] - self.handed)]
        self.items.clear()
        self.items.extend(kept)
        self.last = self.handed + len(kept) if kept else 0
        self.sealed, self.open = None, self.open and bool(kept)
        self.later.clear()
        self.limit = self.received
        self.outbox.append(wire.encode_yield(self.epoch))
        self._ask_for_getters()

    def available(self) -> int:
        """Items that are here and not handed out."""
        count = len(self.items)
        if self.sealed is not None:
            count += len(self.sealed)
        if self.later:
            count += sum(len(payloads) for _, _, payloads in self.later)
        return count

    def ask_ahead(self) -> None:
        """See that the hub owes us one item at least."""
        if self.limit <= self.received:
            self.limit = self.received + 1
            self.outbox.append(wire.encode_want(self.limit))

    def starving(self, now: float) -> None:
        """A get finds nothing here: note the pace."""
        self.pace.emptied(now, alone=not self.page[ANNOUNCE_WAITS])
        self.yield_if_asked()

    def begin_look(self, now: float) -> bool:
        """A get finds nothing, and is about to look for a moment before it waits.

        Is that of any use? Only when the hub owes us something; then the page says
        that somebody waits here.
        """
        self.starving(now)
        if self.looking or self.limit <= self.received:
            return False
        self.looking = True
        self.page[WAITS] = 1
        return True

    def end_look(self) -> None:
        """The moment is over, or something has come."""
        self.looking = False
        self.page[WAITS] = int(self.unannounced)

    def wait_to_get(self, waiter: Waiter, *, late: bool = False) -> None:
        """Let a getter wait, and see that the hub owes us enough.

        With ``late``, somebody calls ``announce`` when it has waited for long: until
        then only the page says that it waits, if the hub owes us enough already.
        """
        self.getters.append(waiter)
        self._ask_for_getters(begin=True, late=late)

    def announce(self) -> None:
        """Say that somebody waits, if that was put off."""
        if self.unannounced:
            self._ask_for_getters(begin=True)

    def _hush(self) -> None:
        self.unannounced = False
        self.page[WAITS] = int(self.looking)

    def _ask_for_getters(self, *, begin: bool = False, late: bool = False) -> None:
        count = len(self.getters)
        if not count:
            return
        linger = all(w.linger for w in self.getters)
        if self.limit - self.received < count:
            self.limit = self.received + max(self.pace.window, count)
        elif not ((begin and self.page[ANNOUNCE_WAITS]) or linger or self._lingers):
            return
        elif late:
            self.unannounced = True
            self.page[WAITS] = 1
            return
        if self.unannounced:
            self._hush()
        self._lingers = linger
        self.outbox.append(wire.encode_want(self.limit, blocked=True, linger=linger))

    def stop_getting(self, waiter: Waiter) -> None:
        """The getter has come to take its item, or waits no longer."""
        if waiter in self.getters:
            self.getters.remove(waiter)
            if self.unannounced and not self.getters:
                self._hush()
        elif waiter.woken:
            waiter.woken = False
            self._called -= 1

    def hand_on(self) -> None:
        """Wake getters for what is here: one for each item."""
        if self.unannounced and self.available():
            self._hush()
        while self.getters and self._called < self.available():
            waiter = self.getters.popleft()
            waiter.woken = True
            self._called += 1
            self.woken.append(waiter)

    # Figures

    def corrections(self) -> tuple[int, int]:
        """What the published figures do not know of us yet.

        Those of items that wait, and that are unfinished.
        """
        self.catch_up()
        page = self.page
        put = page[PUT] - page[ARRIVED]
        handed = page[HANDED] - page[ABSORBED]
        finished = self.settled - page[COUNTED] if self.joinable else handed
        return put - handed, put - finished

    # Requests

    def request(self, ask: Ask, waiter: Waiter) -> int:
        """Ask the hub for something: the number under which it answers."""
        self._ident = (self._ident + 1) & 0xFFFFFFFF
        self.answers[self._ident] = Answer(ask, waiter)
        self.outbox.append(wire.encode_request(self._ident, ask))
        return self._ident

    def forget(self, ident: int, *, cancel: bool = False) -> None:
        """The answer is not waited for any longer."""
        answer = self.answers.pop(ident, None)
        if cancel and answer is not None and answer.value is None:
            self.outbox.append(wire.encode_request(ident, Ask.CANCEL))

    # What comes down

    def receive(self, data: bytes, now: float) -> None:
        """A frame without descriptors has come from the hub."""
        if not data:
            raise ProtocolError("an empty frame")
        handler = _HANDLERS.get(data[-1])
        if handler is None:
            raise ProtocolError(f"a frame of unknown kind {data[-1]}")
        handler(self, data, now)

    def receive_parcel(
        self, frame: wire.ParcelFrame, payload: Parcel, now: float
    ) -> None:
        """A PARCEL has come, with its descriptors."""
        self._add(frame.place, frame.attempts, [payload], now)

    def receive_dead(self, ident: int, record: DeadRecord) -> None:
        """One dead letter has come."""
        answer = self.answers.get(ident)
        if answer is not None:
            answer.letters.append(record)
            self._check_answer(answer)

    def bounce(self, index: int, failure: OSError | None) -> None:
        """A parcel came without its descriptors: the hub keeps it.

        What comes after it is dropped, until the hub has heard and takes it back, too:
        it is to come later. With a ``failure``, the next get raises it.
        """
        self.received = max(self.received, index + 1)
        self.limit = max(self.limit, self.received)
        if self.bouncing:
            return
        self.bouncing = True
        self.returning.append(index)
        self.outbox.append(wire.encode_bounce(index))
        if failure is not None:
            self.failure = failure
            if self.getters:
                waiter = self.getters.popleft()
                if self.unannounced and not self.getters:
                    self._hush()
                waiter.woken = True
                self._called += 1
                self.woken.append(waiter)

    def _bounced(self, data: bytes, now: float) -> None:
        self.bouncing = False
        self._void(data, now)

    def _items(self, data: bytes, now: float) -> None:
        start, attempts, payloads = wire.decode_items(data)
        self._add(start, attempts, payloads, now)

    def _add(
        self,
        start: int,
        attempts: int,
        payloads: Sequence[Payload] | Batch,
        now: float,
    ) -> None:
        count = len(payloads)
        if self.bouncing:
            self.received = start + count
            self.limit = max(self.limit, self.received)
            return
        empty = not self.available()
        self.pace.filled(count, now, empty=empty)
        if empty:
            self.handed, self.attempts = start, attempts
            self._begin_batch(payloads)
        else:
            self.later.append((start, attempts, payloads))
        self.received = start + count
        self.limit = max(self.limit, self.received)
        window = self.pace.window
        if window > 1 and 2 * (self.limit - self.received) < window:
            self.limit = self.received + window
            self.outbox.append(wire.encode_want(self.limit))
        if self.getters:
            self.hand_on()
            # The hub takes nobody for blocked that it has sent something.
            short = self.limit - self.received < len(self.getters)
            if short or self.page[ANNOUNCE_WAITS]:
                self._ask_for_getters(begin=True)

    def _void(self, data: bytes, now: float) -> None:
        self.received = max(self.received, wire.decode_number(data))
        self.limit = self.received
        if self.page[EPOCH] != self.epoch:
            self._yield()
            return
        if self.getters:
            self.hand_on()
        self._ask_for_getters()

    def _room(self, data: bytes, now: float) -> None:
        self.pass_room_on()

    def _end(self, data: bytes, now: float) -> None:
        state = wire.decode_flag(data)
        self.catch_up()
        self._end_all(self.putters)
        if state < State.DRAINED:
            return
        self.limit = self.received
        keep = deque[Waiter]()
        if state < State.OVER and not self.holdings:
            keep.extend(w for w in self.getters if w.linger)
        ended = deque(w for w in self.getters if w not in keep)
        self._end_all(ended)
        self.getters = keep
        if self.unannounced and not keep:
            self._hush()
        self._ask_for_getters()

    def _reply(self, data: bytes, now: float) -> None:
        ident, value = wire.decode_reply(data)
        answer = self.answers.get(ident)
        if answer is not None:
            answer.value = value
            self._check_answer(answer)

    def _check_answer(self, answer: Answer) -> None:
        if answer.complete:
            answer.waiter.woken = True
            self.woken.append(answer.waiter)

    def everyone(self) -> list[Waiter]:
        """All who wait for anything, to be woken because the connection is gone."""
        waiters = [*self.getters, *self.putters]
        waiters += [answer.waiter for answer in self.answers.values()]
        return waiters

    def check_invariants(self) -> None:
        """Raise AssertionError unless the invariants hold."""
        self.holdings.check_invariants()
        assert not self.items or self.sealed is None
        if self.free is None:
            assert self.page[HANDED] <= self.handed or not self.items
            assert len(self.items) == max(0, self.last - self.handed)
        else:
            assert self.open
            taken = self.last - len(self.items)
            assert self.handed <= taken <= self.page[HANDED] <= taken + 1
            assert self.items
        assert self.page[PUT] == self.put
        assert self.limit >= self.received
        assert self._called >= 0
        if self.getters:
            asked = any(data[-1] == Kind.WANT for data in self.outbox)
            assert self.limit > self.received or asked or self.bouncing
        else:
            assert not self.unannounced
        assert bool(self.page[WAITS]) == (self.unannounced or self.looking)
        if self.joinable and self.free is None:
            assert self.page[SETTLED] <= self.holdings.prefix(self.handed)


_HANDLERS: dict[int, Callable[[Peer, bytes, float], None]] = {
    Kind.ITEMS: Peer._items,
    Kind.VOID: Peer._void,
    Kind.BOUNCED: Peer._bounced,
    Kind.ROOM: Peer._room,
    Kind.END: Peer._end,
    Kind.REPLY: Peer._reply,
}
