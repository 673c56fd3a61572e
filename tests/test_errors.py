"""The exceptions: what they are caught as, what they say, and that they travel."""

import asyncio
import pickle
import queue
import subprocess
import sys
from importlib import metadata

import pytest

import aioprocq
from aioprocq import errors

BASES: dict[type[errors.AioprocqError], list[type[Exception]]] = {
    errors.AioprocqError: [Exception],
    errors.QueueEmpty: [asyncio.QueueEmpty, queue.Empty],
    errors.QueueFull: [asyncio.QueueFull, queue.Full],
    errors.QueueShutDown: [],
    errors.OwnerLost: [ConnectionError, OSError],
    errors.QueueClosed: [ValueError],
    errors.LoopMismatch: [RuntimeError],
    errors.CannotTravel: [RuntimeError],
    errors.ProtocolError: [],
    errors.WorkerError: [RuntimeError],
    errors.WorkerCrashed: [errors.WorkerError],
    errors.WorkerStartError: [errors.WorkerError],
    errors.WorkerCrashed: [errors.WorkerError],
    errors.WorkersExhausted: [errors.WorkerError],
    errors.RemoteError: [],
}

every_error = pytest.mark.parametrize(
    "error", BASES, ids=[error.__name__ for error in BASES]
)


def test_the_table_above_is_complete():
    assert {error.__name__ for error in BASES} == set(errors.__all__)


@every_error
def test_is_public(error):
    assert getattr(aioprocq, error.__name__) is error
    assert error.__name__ in aioprocq.__all__


@every_error
def test_is_caught_as_ours_and_as_the_standard_librarys(error):
    assert issubclass(error, errors.AioprocqError)
    for base in BASES[error]:
        assert issubclass(error, base)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="the exceptions are new in 3.13")
def test_shutdown_is_the_standard_librarys_where_it_has_one():
    assert issubclass(errors.QueueShutDown, getattr(asyncio, "QueueShutDown"))  # noqa: B009 - not in 3.11's types
    assert issubclass(errors.QueueShutDown, getattr(queue, "ShutDown"))  # noqa: B009 - not in 3.11's types


@every_error
def test_without_an_argument_it_says_what_to_do_next(error):
    happened, _, to_do = str(error()).replace(";", ":").partition(":")
    assert happened
    assert to_do.strip()


def test_every_error_has_a_message_of_its_own():
    assert len({str(error()) for error in BASES}) == len(BASES)


@every_error
def test_says_what_it_was_given(error):
    assert str(error("queue 'jobs' is full")) == "queue 'jobs' is full"


@every_error
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("args", [(), ("why",)], ids=["bare", "message"])
def test_survives_pickling_with_its_notes(error, protocol, args):
    sent = error(*args)
    sent.add_note("in queue 'jobs'")

    received = pickle.loads(pickle.dumps(sent, protocol))

    assert type(received) is error
    assert received.args == args
    assert str(received) == str(sent)
    assert received.__notes__ == ["in queue 'jobs'"]


def test_a_remote_error_keeps_what_it_describes_when_it_travels():
    error = errors.RemoteError.describe("m.E", "why", ("a note",), "Traceback ...")
    received = pickle.loads(pickle.dumps(error))
    assert str(received) == "m.E: why"
    assert (received.type_name, received.message) == ("m.E", "why")
    assert (received.notes, received.traceback) == (("a note",), "Traceback ...")


def test_a_crashed_worker_keeps_what_it_describes_when_it_travels():
    error = errors.WorkerCrashed.describe("resize", 2, "pool-1-0", "signal SIGSEGV")
    assert (error.job, error.attempt) == ("resize", 2)
    assert (error.worker, error.status) == ("pool-1-0", "signal SIGSEGV")
    assert "pool-1-0 died (signal SIGSEGV) while it ran resize, attempt 2" in str(error)
    received = pickle.loads(pickle.dumps(error))
    assert str(received) == str(error)
    assert vars(received) == vars(error)
    bare = errors.WorkerCrashed()
    assert (bare.job, bare.attempt, bare.worker, bare.status) == ("", 0, "", "")


def test_importing_on_windows_says_that_it_is_not_supported():
    script = (
        "import sys, asyncio; sys.platform = 'win32'\n"
        "try: import aioprocq\n"
        "except ImportError as error: print(error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "does not run on Windows" in result.stdout
    assert "Linux" in result.stdout


def test_all_names_what_there_is():
    for name in aioprocq.__all__:
        assert hasattr(aioprocq, name)


def test_version_is_the_installed_one():
    assert metadata.version("aioprocq") == aioprocq.__version__
