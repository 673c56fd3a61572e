"""The segments that a consumer keeps mapped, and the views of them that it hands out.

Invariants:

* A mapping is made through a description of its own, never through a claim: to
  keep it keeps nobody from using the segment again.
* A view holds its item's claim, and its mapping. Both are let go when the last
  view made of it (array, slice, memoryview) is gone; a forked child has copies of
  its own, which hold until they are gone there too.
* A mapping is found by what the kernel calls its file and by the random key that
  the file's writer gave it. While it is kept, the kernel keeps the file.
* At most ``most`` mappings are kept, and none that the last ``patience`` views did
  not use: a producer may have given it up.
"""

from __future__ import annotations

import mmap
import sys
import threading
from pickle import PickleBuffer
from typing import TYPE_CHECKING, Any, TypeAlias

from ..wire.payload import Descriptor
from .transport import reopen

if TYPE_CHECKING:
    import ctypes

__all__ = ["Identity", "Mappings", "map_to_read"]

Identity: TypeAlias = tuple[int, int, int]
"""Device and inode of a segment, and the key that its item names."""

_MOST = 32
_PATIENCE = 256


def map_to_read(number: int, size: int) -> mmap.mmap:
    """Map a segment to read only; the descriptor may be closed afterwards."""
    if sys.version_info >= (3, 13):
        return mmap.mmap(number, size, mmap.MAP_SHARED, mmap.PROT_READ, trackfd=False)
    return mmap.mmap(number, size, mmap.MAP_SHARED, mmap.PROT_READ)


class _Mapping:
    """A segment in the memory of this process."""

    __slots__ = ("_address", "_kind", "_mapping", "used")

    def __init__(self, number: int, size: int) -> None:
        import ctypes  # only who gets large items needs it

        self._mapping = map_to_read(number, size)
        self._address = _address_of(self._mapping)
        self._kind: type[ctypes.Array[Any]] = ctypes.c_ubyte * size
        self.used = 0

    def view(self, claim: Descriptor) -> memoryview:
        """The whole of it, with something below it that holds the claim.

        Slices of a memoryview, and arrays made of them, keep alive what the first
        one was made of, but not the first one itself; so it is made of an object
        that is there for this view only. From 3.12 on ``__buffer__`` could do it.
        """
        below: Any = self._kind.from_address(self._address)
        below.keep = (self._mapping, claim)
        return PickleBuffer(below).raw().toreadonly()


def _address_of(mapping: mmap.mmap) -> int:
    import ctypes

    # A Py_buffer, which the stable ABI fixes from 3.11 on: the address comes first.
    buffer = (ctypes.c_void_p * 11)()
    api = ctypes.pythonapi
    api.PyObject_GetBuffer(ctypes.py_object(mapping), buffer, 0)
    address = buffer[0] or 0
    api.PyBuffer_Release(buffer)
    return address


class Mappings:
    """The segments that one process keeps mapped for one queue; for any thread."""

    __slots__ = ("_found", "_lock", "_views", "most", "patience")

    def __init__(self, *, most: int = _MOST, patience: int = _PATIENCE) -> None:
        self.most = most
        self.patience = patience
        self._found: dict[Identity, _Mapping] = {}  # those used longest ago first
        self._lock = threading.Lock()
        self._views = 0

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        return f"<mappings {len(self._found)} of {self.most}, {self._views} views>"

    @property
    def busy(self) -> bool:
        """Whether some thread is in the middle of something here."""
        return self._lock.locked()

    def view(
        self, claim: Descriptor, identity: Identity, size: int
    ) -> memoryview | None:
        """All of a segment, to read only; None: it cannot be kept mapped here."""
        with self._lock:
            try:
                mapping = self._found.pop(identity, None) or _map_anew(claim, size)
            except (OSError, ImportError):
                self._found.clear()  # whatever is short, these keep some of it
                return None
            self._views += 1
            mapping.used = self._views
            self._found[identity] = mapping
            self._trim()
        return mapping.view(claim)

    def _trim(self) -> None:
        for identity, mapping in list(self._found.items()):
            fresh = self._views - mapping.used <= self.patience
            if fresh and len(self._found) <= self.most:
                return
            del self._found[identity]

    def close(self) -> None:
        """Keep nothing mapped; what is looked at stays mapped as long as it is."""
        with self._lock:
            self.most = 0
            self._found.clear()


def _map_anew(claim: Descriptor, size: int) -> _Mapping:
    again = Descriptor(reopen(claim.fileno()))
    return _Mapping(again.fileno(), size)
