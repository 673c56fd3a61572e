"""A list of a Redis server: RPUSH here, BLPOP there."""

from __future__ import annotations

import importlib
import os
import pickle
import uuid
from collections.abc import Callable
from typing import Any

from aioprocq.cli.bench.flow import Flow
from aioprocq.cli.bench.kinds import Adapter, Kind

__all__ = ["REDIS", "lack"]

PATIENCE = 0.2  # seconds for a server to say that it is there


def url() -> str:
    """Where the server is: `REDIS_URL`, or on this machine."""
    return os.environ.get("REDIS_URL", "redis://localhost:6379/0")


def connect(**options: Any) -> Any:
    """A client of the server."""
    return importlib.import_module("redis").Redis.from_url(url(), **options)


def lack() -> str | None:
    """Whether there is a server, and if not, where it was looked for."""
    try:
        client = connect(socket_connect_timeout=PATIENCE, socket_timeout=PATIENCE)
        with client:
            client.ping()
    except Exception:  # whatever it is, there is nobody to be measured
        return f"no Redis server answers at {url()}"
    return None


class RedisList(Adapter):
    """A key of the server."""

    def __init__(self, key: str) -> None:
        self._key = key

    def blocking(self) -> Face:
        """A connection."""
        return Face(connect(), self._key)

    def close(self) -> None:
        """Remove the key."""
        with connect() as client:
            client.delete(self._key)


class Face:
    """One connection, with which items are put and got."""

    def __init__(self, client: Any, key: str) -> None:
        push: Callable[[str, bytes], object] = client.rpush
        pop: Callable[[str], tuple[bytes, bytes]] = client.blpop
        self.put = lambda item: push(key, pickle.dumps(item))
        self.get = lambda: pickle.loads(pop(key)[1])


def make(flow: Flow) -> RedisList:
    """A key that nobody else uses."""
    return RedisList(f"aioprocq-bench-{uuid.uuid4().hex}")


REDIS = Kind("Redis list", make, needs=("redis",), lack=lack)
