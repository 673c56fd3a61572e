"""The figures that a queue gives about itself."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["QueueStatistics"]


@dataclass(frozen=True, slots=True)
class QueueStatistics:
    """The figures of one queue at one moment, exact in its owner's process.

    In any other process only ``qsize``, ``unfinished`` and ``state`` are known,
    from the page that the owner publishes; the rest is None.
    """

    qsize: int
    """Items put and not handed out to anybody."""
    unfinished: int
    """Items put and neither settled nor given up."""
    state: str
    """``open``, ``shut``, ``drained`` or ``over``."""
    held: int | None = None
    """Items handed out and not settled (JoinableQueue)."""
    put: int | None = None
    """Items ever put."""
    returned: int | None = None
    """Items sent to a consumer that had not started on them, and taken back."""
    redelivered: int | None = None
    """Items delivered again after a failed attempt."""
    dead_letters: int | None = None
    """Items given up on."""
    peers: int | None = None
    """Connected processes other than the owner."""
    peers_gone: int | None = None
    """Processes that were connected and are gone."""
    getters_waiting: int | None = None
    """Getters that wait: those of the owner, and peers that are known to."""
    putters_waiting: int | None = None
    """Putters that wait: those of the owner, and peers."""
