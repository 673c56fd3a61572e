import os
import time

import pytest

from aioprocq.cli.bench import process_facts
from aioprocq.cli.bench.process_facts import descriptors, lack, resident, wake_ups

needs_proc = pytest.mark.skipif(lack() is not None, reason="there is no /proc")


@needs_proc
def test_who_sleeps_wakes_up():
    before = wake_ups(os.getpid())
    time.sleep(0.001)
    assert wake_ups(os.getpid()) > before


@needs_proc
def test_memory_is_in_bytes():
    assert resident() > 1 << 20


@needs_proc
def test_descriptors_are_counted():
    before = descriptors()
    reading_end, writing_end = os.pipe()
    assert descriptors() == before + 2
    os.close(reading_end)
    os.close(writing_end)


def test_says_where_it_cannot_look(monkeypatch, tmp_path):
    monkeypatch.setattr(process_facts, "PROC", tmp_path)
    assert lack() == "there is no /proc here"
