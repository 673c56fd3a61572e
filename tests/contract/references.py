"""Where the standard library's own queues do otherwise, and why that is meant.

For each test that runs over the references as well: those that fail it, with the
reason. They are run, and one that does not fail its test is an error (`conftest.py`).
Not listed: that neither has put_many, get_many, iteration, deliveries, statistics or a
name.
"""

from __future__ import annotations

import sys

ASYNCIO = "asyncio.Queue"
MULTIPROCESSING = "multiprocessing.JoinableQueue"

NO_TIMEOUT = "its coroutines take no timeout: asyncio.timeout() goes around them"
NO_SHUTDOWN = "it has no shutdown: each consumer needs a sentinel"
OWN_ERRORS = "its exceptions are its own, and say nothing to users of the other one"

DIFFERENCES: dict[str, dict[str, str]] = {
    "test_maxsize_is_readable": {MULTIPROCESSING: "it keeps maxsize to itself"},
    "test_put_times_out_when_full": {ASYNCIO: NO_TIMEOUT},
    "test_float_maxsize_rounds_up": {
        ASYNCIO: NO_TIMEOUT,
        MULTIPROCESSING: "its semaphore wants a whole number",
    },
    "test_what_timed_out_was_not_put": {ASYNCIO: NO_TIMEOUT},
    "test_get_times_out": {ASYNCIO: NO_TIMEOUT},
    "test_put_times_out": {ASYNCIO: NO_TIMEOUT},
    "test_a_get_that_timed_out_takes_nothing": {ASYNCIO: NO_TIMEOUT},
    "test_a_later_change_does_not_leak_in": {
        ASYNCIO: "it hands over the object itself, with all that is done to it later",
    },
    "test_errors_are_those_of_both_libraries": {
        ASYNCIO: NO_TIMEOUT,
        MULTIPROCESSING: OWN_ERRORS,
    },
}


WITHOUT_SHUTDOWN = {MULTIPROCESSING: NO_SHUTDOWN}
if sys.version_info < (3, 13):
    WITHOUT_SHUTDOWN[ASYNCIO] = NO_SHUTDOWN

# Not run: which way it goes is chance, or there is no such call.
LEFT_OUT: dict[str, dict[str, str]] = {
    "test_a_later_change_does_not_leak_in": {
        MULTIPROCESSING: "its thread pickles a moment later, before or after the change"
    },
    "test_a_failure_to_pickle_takes_no_room": {
        ASYNCIO: "it never pickles",
        MULTIPROCESSING: "put returns, and its thread prints the error some time later",
    },
    "test_gets_drain_then_raise": WITHOUT_SHUTDOWN,
    "test_immediate_throws_away": WITHOUT_SHUTDOWN,
    "test_what_was_handed_out_still_needs_task_done": WITHOUT_SHUTDOWN,
    "test_a_draining_queue_can_be_shut_down_at_once": WITHOUT_SHUTDOWN,
}


def difference(test: str, reference: str) -> str | None:
    """Why the reference is meant to fail the test, if it is."""
    return DIFFERENCES.get(test, {}).get(reference)


def left_out(test: str, reference: str) -> str | None:
    """Why the reference is not run, if it is not."""
    return LEFT_OUT.get(test, {}).get(reference)
