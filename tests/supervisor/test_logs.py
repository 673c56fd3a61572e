"""Log records between a worker and the app, with a stub for the line between them."""

from __future__ import annotations

import logging
import os
import pickle
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from aioprocq.supervisor.logs import LineHandler, handle_log, levels_here, ship_logs
from aioprocq.supervisor.messages import Log

NAMES = ("app.shipped", "app.shipped.deep", "app.level_test")


class Line:
    """The worker's end of the line: pickles what it sends."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.tries = 0
        self.failure: BaseException | None = None

    def send(self, message: object) -> None:
        self.tries += 1
        if self.failure is not None:
            raise self.failure
        self.messages.append(pickle.loads(pickle.dumps(message)))


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.root
    handlers, level, disabled = root.handlers[:], root.level, root.manager.disable
    yield
    logging.captureWarnings(False)
    logging.disable(disabled)
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in NAMES:
        logger = logging.getLogger(name)
        logger.setLevel(logging.NOTSET)
        logger.handlers.clear()
        logger.filters.clear()
        logger.disabled = False


@pytest.fixture
def line():
    return Line()


@pytest.fixture
def logger(line):
    """A logger whose records go to the line, and nowhere else."""
    # Not one of the tree, where pytest adds handlers of its own to the topmost ones.
    found = logging.Logger("app.shipped")
    found.addHandler(LineHandler(line, "reader-0"))
    return found


class Kept(logging.Handler):
    """Keeps its records."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def only(line: Line) -> dict[str, Any]:
    (message,) = line.messages
    assert isinstance(message, Log)
    return message.record


class Unpicklable:
    def __repr__(self) -> str:
        return "<it>"

    def __reduce__(self):
        raise TypeError("never travels")


# Sending


def test_a_record_travels_with_its_message_made(line, logger):
    logger.info("%s has %d of %r", Unpicklable(), 2, "x")
    sent = only(line)
    assert (sent["msg"], sent["args"]) == ("<it> has 2 of 'x'", None)
    assert (sent["name"], sent["levelname"]) == ("app.shipped", "INFO")
    assert (sent["levelno"], sent["filename"]) == (logging.INFO, "test_logs.py")
    assert sent["funcName"] == "test_a_record_travels_with_its_message_made"
    assert (sent["process"], sent["processName"]) == (os.getpid(), "reader-0")
    assert sent["threadName"] == threading.current_thread().name
    assert (sent["exc_info"], sent["exc_text"]) == (None, None)


@pytest.mark.parametrize(
    ("message", "args", "text"),
    [
        ("100%", (), "100%"),
        ("%(a)s", ({"a": 1},), "1"),
        (Unpicklable(), (), "<it>"),
        (ValueError("why"), (), "why"),
        (None, (), "None"),
        ("", (), ""),
    ],
)
def test_messages_are_made_as_logging_makes_them(line, logger, message, args, text):
    logger.warning(message, *args)
    assert only(line)["msg"] == text


def test_a_traceback_travels_as_text(line, logger):
    try:
        raise KeyError("lost")
    except KeyError:
        logger.exception("it broke")
    sent = only(line)
    assert sent["exc_info"] is None
    assert sent["exc_text"].startswith("Traceback (most recent call last):\n")
    assert sent["exc_text"].endswith("KeyError: 'lost'")


def test_a_traceback_where_there_is_none_is_what_logging_makes_of_it(line, logger):
    logger.error("no exception", exc_info=True)
    assert (only(line)["exc_info"], only(line)["exc_text"]) == (None, "NoneType: None")


def test_the_stack_travels(line, logger):
    logger.info("here", stack_info=True)
    assert "in test_the_stack_travels\n" in only(line)["stack_info"]


def test_a_traceback_that_was_rendered_before_is_taken_as_it_is(line):
    record = logging.makeLogRecord(
        {"exc_info": (KeyError, KeyError("lost"), None), "exc_text": "rendered"}
    )
    LineHandler(line, "reader-0").handle(record)
    assert (only(line)["exc_text"], only(line)["exc_info"]) == ("rendered", None)


def test_a_formatter_of_the_handler_renders_the_traceback(line, logger):
    class Short(logging.Formatter):
        def formatException(self, ei: Any) -> str:  # noqa: N802  # logging's name
            return f"short {ei[1]!r}"

    logger.handlers[0].setFormatter(Short())
    logger.error("it broke", exc_info=KeyError("lost"))
    assert only(line)["exc_text"] == "short KeyError('lost')"


def test_the_worker_s_own_handlers_find_the_record_as_it_was(line, logger):
    kept = Kept()
    logger.addHandler(kept)
    thing = Unpicklable()
    logger.error("%s", thing, exc_info=KeyError("lost"), extra={"odd": thing})
    (record,) = kept.records
    assert (record.msg, record.args, record.odd) == ("%s", (thing,), thing)
    assert record.exc_info[0] is KeyError
    assert record.exc_text is None
    assert record.processName != "reader-0"


def test_what_was_added_to_a_record_travels(line, logger):
    logger.info("x", extra={"request": 7, "tags": {"a"}})
    sent = only(line)
    assert (sent["request"], sent["tags"]) == (7, {"a"})


def test_an_addition_that_does_not_pickle_stays_behind_and_the_record_goes(
    line, logger
):
    logger.info("%d", 1, extra={"odd": Unpicklable(), "worse": lambda: 0})
    sent = only(line)
    assert (sent["msg"], sent["name"]) == ("1", "app.shipped")
    assert (sent["processName"], sent["levelno"]) == ("reader-0", logging.INFO)
    assert not {"odd", "worse"} & sent.keys()


@pytest.mark.parametrize("failure", [BrokenPipeError(), ConnectionResetError()])
def test_when_the_app_is_gone_records_are_dropped(line, logger, capsys, failure):
    line.failure = failure
    logger.info("x")
    assert line.tries == 1
    assert capsys.readouterr() == ("", "")


def test_a_message_that_cannot_be_made_is_told_on_stderr(line, logger, capsys):
    logger.info("%d", "no number")
    logger.info("after")
    assert only(line)["msg"] == "after"
    told = capsys.readouterr().err
    assert "--- Logging error ---" in told
    assert "Message: '%d'" in told


def test_a_record_of_which_nothing_pickles_is_told_on_stderr(line, logger, capsys):
    line.failure = pickle.PicklingError("nothing of it")
    logger.info("x")
    assert line.tries == 2
    assert "PicklingError: nothing of it" in capsys.readouterr().err


def test_nothing_is_told_where_nobody_wants_it(line, logger, capsys, monkeypatch):
    monkeypatch.setattr(logging, "raiseExceptions", False)
    logger.info("%d", "no number")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("failure", [SystemExit(143), KeyboardInterrupt()])
def test_leaving_is_not_held_up_by_a_record(line, logger, failure):
    line.failure = failure
    with pytest.raises(type(failure)):
        logger.info("x")
    line.failure = None
    logger.info("after")  # the handler's lock was given back
    assert only(line)["msg"] == "after"


# Levels, and all of them


def test_levels_are_those_that_were_set():
    logging.getLogger("app.level_test").setLevel(5)
    logging.getLogger("app.shipped.deep").setLevel(logging.ERROR)
    logging.getLogger("app.shipped")
    logging.root.setLevel(logging.INFO)
    levels = levels_here()
    assert levels[""] == logging.INFO
    assert levels["app.level_test"] == 5
    assert levels["app.shipped.deep"] == logging.ERROR
    assert not {"app", "app.shipped", "root"} & levels.keys()
    assert 0 not in [level for name, level in levels.items() if name]


def test_a_root_that_lets_everything_through_is_told_too():
    logging.root.setLevel(logging.NOTSET)
    assert levels_here()[""] == logging.NOTSET


def test_a_worker_sends_everything_at_the_levels_of_the_app(line):
    kept = Kept()
    logging.root.addHandler(kept)
    ship_logs(line, "reader-0", {"": logging.INFO, "app.shipped": logging.ERROR})
    (handler,) = logging.root.handlers
    assert isinstance(handler, LineHandler)
    logging.getLogger("app.level_test").info("seen")
    logging.getLogger("app.level_test").debug("below the root's level")
    logging.getLogger("app.shipped.deep").error("seen, too")
    logging.getLogger("app.shipped.deep").warning("below its parent's level")
    logging.info("of the root")
    sent = [(m.record["name"], m.record["msg"]) for m in line.messages]
    assert sent == [
        ("app.level_test", "seen"),
        ("app.shipped.deep", "seen, too"),
        ("root", "of the root"),
    ]
    assert kept.records == []


def test_a_worker_sends_its_warnings(line):
    ship_logs(line, "reader-0", {"": logging.WARNING})
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)  # catch_warnings has put its own in its place
        warnings.warn("take care", UserWarning, stacklevel=1)
    sent = only(line)
    assert (sent["name"], sent["levelno"]) == ("py.warnings", logging.WARNING)
    assert "UserWarning: take care" in sent["msg"]


def test_all_levels_of_the_app_arrive():
    logging.getLogger("app.level_test").setLevel(5)
    levels = levels_here()
    logging.getLogger("app.level_test").setLevel(logging.NOTSET)
    logging.root.setLevel(logging.CRITICAL)
    ship_logs(Line(), "reader-0", levels)  # type: ignore[arg-type]  # a stub
    assert levels_here() == levels


# Handling


def content(**changes: Any) -> dict[str, Any]:
    record = logging.LogRecord(
        "app.shipped", logging.INFO, "far.py", 3, "100%", None, None
    )
    return {**record.__dict__, "processName": "reader-0", "process": 7, **changes}


@pytest.fixture
def handled():
    """What the app's handler of the logger got."""
    kept = Kept()
    found = logging.getLogger("app.shipped")
    found.addHandler(kept)
    found.setLevel(logging.INFO)
    return kept.records


def test_the_app_s_logger_of_that_name_handles_the_record(handled):
    handle_log(content(request=7))
    (record,) = handled
    assert record.getMessage() == "100%"
    assert (record.name, record.lineno, record.process) == ("app.shipped", 3, 7)
    assert (record.processName, record.request) == ("reader-0", 7)


def test_the_app_s_levels_have_the_last_word(handled):
    handle_log(content(levelno=logging.DEBUG))
    assert handled == []
    handle_log(content(levelno=logging.INFO))
    assert len(handled) == 1
    logging.getLogger("app.shipped").setLevel(logging.ERROR)
    handle_log(content(levelno=logging.WARNING))
    logging.disable(logging.ERROR)
    handle_log(content(levelno=logging.ERROR))
    assert len(handled) == 1
    handle_log(content(levelno=logging.CRITICAL))
    assert len(handled) == 2


def test_filters_and_disabled_loggers_of_the_app_are_heeded(handled):
    logger = logging.getLogger("app.shipped")
    logger.addFilter(lambda record: record.request == 1)
    handle_log(content(request=1))
    handle_log(content(request=2))
    assert [record.request for record in handled] == [1]
    logger.disabled = True
    handle_log(content(request=1))
    assert len(handled) == 1


def test_records_go_up_to_the_handlers_of_the_parents_once(handled):
    root = Kept()
    logging.root.addHandler(root)
    logging.root.setLevel(logging.INFO)
    handle_log(content())
    handle_log(content(name="app.shipped.deep"))
    handle_log(content(name="root"))
    assert [record.name for record in handled] == ["app.shipped", "app.shipped.deep"]
    names = [record.name for record in root.records]
    assert names == ["app.shipped", "app.shipped.deep", "root"]


def test_what_the_app_s_handler_prints_is_what_the_worker_s_would_have(
    line, logger, capsys
):
    try:
        raise KeyError("lost")
    except KeyError:
        logger.exception("at %d%%", 100, stack_info=True)
    handler = logging.StreamHandler()
    handler.setFormatter(
        logging.Formatter("%(processName)s %(levelname)s %(name)s: %(message)s")
    )
    logging.getLogger("app.shipped").addHandler(handler)
    handle_log(only(line))
    printed = capsys.readouterr().err.splitlines()
    assert printed[:2] == [
        "reader-0 ERROR app.shipped: at 100%",
        "Traceback (most recent call last):",
    ]
    assert "KeyError: 'lost'" in printed
    assert "Stack (most recent call last):" in printed


def test_what_a_handler_of_the_app_raises_is_for_the_caller():
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise LookupError("broken")

    logging.getLogger("app.shipped").addHandler(Broken())
    with pytest.raises(LookupError, match="broken"):
        handle_log(content(levelno=logging.CRITICAL))
