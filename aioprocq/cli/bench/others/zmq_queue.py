"""pyzmq: a pair of PUSH and PULL sockets. One producer, one consumer."""

from __future__ import annotations

import importlib
import os
import pickle
import tempfile
from functools import cached_property
from typing import Any

from aioprocq.cli.bench.flow import Flow
from aioprocq.cli.bench.kinds import Adapter, Kind

__all__ = ["ZMQ"]


class ZmqQueue(Adapter):
    """A Unix socket's address. Who gets binds to it, who puts connects."""

    def __init__(self, folder: str, arrays: bool) -> None:
        self._folder = folder
        self._arrays = arrays
        self._faces: list[Face] = []

    def __getstate__(self) -> tuple[str, bool]:
        return self._folder, self._arrays

    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.__init__(*state)  # type: ignore[misc]  # nothing else is to be restored

    def blocking(self) -> Face:
        """Its blocking calls."""
        return self._face("zmq")

    def coroutines(self) -> Face:
        """Its coroutines."""
        return self._face("zmq.asyncio")

    def close(self) -> None:
        """Close the sockets that this process has opened, and remove the address."""
        for face in self._faces:
            face.close()
        for name in os.listdir(self._folder):
            os.unlink(os.path.join(self._folder, name))
        os.rmdir(self._folder)

    def _face(self, module: str) -> Face:
        face = Face(module, f"ipc://{self._folder}/queue", self._arrays)
        self._faces.append(face)
        return face


class Face:
    """One end, which is opened when it turns out which."""

    def __init__(self, module: str, address: str, arrays: bool) -> None:
        self._module = module
        self._address = address
        self._arrays = arrays
        self._sockets: list[Any] = []

    @cached_property
    def put(self) -> Any:
        """Put one item."""
        socket = self._open("PUSH")
        socket.connect(self._address)
        if not self._arrays:
            return socket.send_pyobj
        return lambda item: socket.send_multipart(_parts(item), copy=False)

    @cached_property
    def get(self) -> Any:
        """Get one item."""
        socket = self._open("PULL")
        socket.bind(self._address)
        if not self._arrays:
            return socket.recv_pyobj
        return lambda: _whole(socket.recv_multipart(copy=False))

    def close(self) -> None:
        """Close what was opened."""
        for socket in self._sockets:
            socket.close(0)

    def _open(self, kind: str) -> Any:
        zmq = importlib.import_module("zmq")
        context = importlib.import_module(self._module).Context.instance()
        socket = context.socket(getattr(zmq, kind))
        socket.set_hwm(4 if self._arrays else 0)
        socket.linger = 0
        self._sockets.append(socket)
        return socket


def _parts(item: Any) -> list[Any]:
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(item, 5, buffer_callback=buffers.append)
    return [head, *buffers]


def _whole(parts: list[Any]) -> Any:
    head, *buffers = (part.buffer for part in parts)
    return pickle.loads(head, buffers=buffers)


def make(flow: Flow) -> ZmqQueue:
    """An address of its own."""
    folder = tempfile.mkdtemp(prefix="aioprocq-bench-")
    return ZmqQueue(folder, bool(flow.array_size))


ZMQ = Kind("pyzmq", make, coroutines=True, needs=("zmq",))
