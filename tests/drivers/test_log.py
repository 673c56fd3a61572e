"""The logger of the package: what handlers of the app raise stays with them."""

from __future__ import annotations

import logging

import pytest

from aioprocq.drivers.log import logger


def test_what_a_handler_raises_is_printed_and_goes_no_further(broken_handler, capsys):
    logger.warning("%d of %s", 1, "two")
    (record,) = broken_handler
    assert (record.name, record.levelname) == ("aioprocq", "WARNING")
    assert record.getMessage() == "1 of two"
    assert (record.filename, record.funcName) == (
        "test_log.py",
        "test_what_a_handler_raises_is_printed_and_goes_no_further",
    )
    assert "RuntimeError: this handler is broken" in capsys.readouterr().err


def test_the_error_that_is_logged_arrives(broken_handler, capsys):
    try:
        raise ValueError("why")
    except ValueError:
        logger.exception("it failed")
    (record,) = broken_handler
    assert isinstance(record.exc_info[1], ValueError)


@pytest.mark.parametrize("missing", ["stderr", "raiseExceptions"])
def test_nothing_is_printed_where_nobody_wants_it(
    broken_handler, capsys, monkeypatch, missing
):
    if missing == "stderr":
        monkeypatch.setattr("sys.stderr", None)
    else:
        monkeypatch.setattr(logging, "raiseExceptions", False)
    logger.warning("x")
    assert len(broken_handler) == 1
    assert capsys.readouterr() == ("", "")


def test_an_interruption_goes_on(monkeypatch):
    def interrupt(*args, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(logger.logger, "log", interrupt)
    with pytest.raises(KeyboardInterrupt):
        logger.warning("x")
