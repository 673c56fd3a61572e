"""The shared pages: no word is two things, and each side has its own cache lines."""

from aioprocq.wire import page
from aioprocq.wire.page import NEVER, UNLIMITED, WORDS, State, new_page

CACHE_LINE = 64 // 8

NO_WORDS = {"NEVER", "OPEN", "UNLIMITED", "WORDS"}
HUB_PAGE = {"BEGUN", "PUBLISHED", "QSIZE", "STATE", "UNFINISHED"}
OF_THE_PEER = {"HANDED", "PUT", "PUT_BYTES", "RING_TAIL", "RUNG", "SETTLED", "WAITS"}


def words() -> dict[str, int]:
    names = (name for name in page.__all__ if name.isupper())
    return {name: getattr(page, name) for name in names if name not in NO_WORDS}


def test_a_new_page_is_all_zero():
    fresh = new_page()
    assert len(fresh) == WORDS == 4096 // 8
    assert not any(fresh)
    assert new_page() is not fresh


def test_the_hubs_page_has_a_word_for_each_figure():
    mine = [index for name, index in words().items() if name in HUB_PAGE]
    assert len(mine) == len(HUB_PAGE) == len(set(mine))
    assert all(0 <= index < WORDS for index in mine)


def test_each_word_of_a_peers_page_has_a_place_of_its_own():
    shared = [index for name, index in words().items() if name not in HUB_PAGE]
    assert len(shared) == len(set(shared))
    assert all(0 <= index < WORDS for index in shared)


def test_a_cache_line_has_one_writer():
    peers, hubs = set(), set()
    for name, index in words().items():
        if name in OF_THE_PEER:
            peers.add(index // CACHE_LINE)
        elif name not in HUB_PAGE:
            hubs.add(index // CACHE_LINE)
    assert peers
    assert hubs
    # Not even the next line: it is fetched along.
    assert min(hubs) - max(peers) > 1


def test_what_is_unlimited_fits_into_a_word():
    assert UNLIMITED == NEVER < 2**63


def test_a_shutdown_goes_on_from_state_to_state():
    assert list(State) == sorted(State)
    assert State(new_page()[page.STATE]) is State.OPEN
