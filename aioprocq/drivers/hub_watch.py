"""What a supervisor asks a hub about the processes that use its queue.

Invariants:

* Only processes that were named to ``watch_process`` leave anything behind here.
* ``depart`` is for a process that is dead: what it has sent is read to its end
  before anything that it held goes back.
"""

from __future__ import annotations

import select
from dataclasses import dataclass

from ..machines.lane import Stray
from ..machines.record import PeerRecord
from ..wire.page import HANDED, SETTLED
from .hub_link import HubLink

__all__ = ["HubWatch", "Traffic"]


@dataclass(frozen=True, slots=True)
class Traffic:
    """What one process has done with one queue."""

    handed: int
    settled: int
    put: int
    gets: bool


class HubWatch(HubLink):
    """The part of a hub's station that a supervisor uses."""

    def watch_process(self, pid: int) -> None:
        """Remember what this process holds when it is lost, until ``depart``."""
        with self.lock:
            self._watched[pid] = []

    def depart(self, pid: int) -> list[Stray]:
        """A process is dead: take back what is left, and say what it held."""
        with self.lock:
            if not self._disposed:
                self._take_in()  # it may have dialled just before
                for record in self._records(pid):
                    self._read_to_end(record)
                self._carry_out()
            return self._watched.pop(pid, [])

    def _read_to_end(self, record: PeerRecord) -> None:
        # A descriptor that lives on elsewhere must not keep this here for ever.
        connection = self._by_record[record]
        poller = select.poll()
        poller.register(connection.fileno(), select.POLLIN)
        while record in self._by_record and not connection.paused and poller.poll(0):
            self._read(connection)
        if record in self._by_record and not connection.paused:
            self._disconnect(connection)

    def _records(self, pid: int) -> list[PeerRecord]:
        return [record for record in self._by_record if record.pid == pid]

    def traffic(self, pid: int) -> Traffic:
        """What a process has done with this queue so far."""
        with self.lock:
            records = self._records(pid)
            return Traffic(
                handed=sum(r.page[HANDED] for r in records),
                settled=sum(r.page[SETTLED] for r in records),
                put=sum(r.received for r in records),
                gets=any(r.lane.want for r in records),
            )

    def put_here(self) -> int:
        """How many items this process has put, and no other one."""
        with self.lock:
            by_others = sum(record.received for record in self._by_record)
            return self.hub.store.tail - by_others - self.hub.put_by_gone

    def consumed(self) -> bool:
        """Whether some other process gets from this queue."""
        with self.lock:
            return any(record.lane.want for record in self._by_record)

    @property
    def unfinished(self) -> int:
        """How many items were put and not finished, as far as is known here."""
        return self.hub.store.unfinished

    def settled_so_far(self) -> int | None:
        """How many items were ever put, if nothing of them is left to do."""
        with self.lock:
            if self._disposed:
                return 0
            self._take_in()
            self._carry_out()
            for record in self.hub.dealer.peers:
                self.hub.dealer.absorb(record)
            store = self.hub.store
            return None if store.unfinished else store.tail
