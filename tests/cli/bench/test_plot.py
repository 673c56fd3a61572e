from xml.etree import ElementTree

from aioprocq.cli.bench.plot import BAR_WIDTH, draw
from tests.cli.bench.stand_in import make_result

SVG = "{http://www.w3.org/2000/svg}"


def picture(note: str = "a note") -> ElementTree.Element:
    result = make_result(ours=[400.0], theirs=[100.0])
    return ElementTree.fromstring(draw([result], note))


def test_every_metric_has_a_bar_for_each_contender():
    background, *bars = picture().findall(f"{SVG}rect")
    assert background.get("width") == picture().get("width")
    lengths = [int(bar.get("width", "0")) for bar in bars]
    assert lengths == [BAR_WIDTH, round(BAR_WIDTH / 4)] * 1 + [
        round(BAR_WIDTH / 4),
        BAR_WIDTH,
    ]


def test_bars_are_named_and_have_their_figures():
    texts = [text.text for text in picture().findall(f"{SVG}text")]
    assert "title of row, rate (higher is better)" in texts
    assert "title of row, time (lower is better)" in texts
    assert {"ours", "theirs", "400 items/s", "100 items/s"} <= set(texts)


def test_what_is_written_is_escaped():
    assert picture("a < b & c").findall(f"{SVG}text")[-1].text == "a < b & c"


def test_nothing_measured_is_a_picture_all_the_same():
    assert ElementTree.fromstring(draw([], "note")).tag == f"{SVG}svg"
