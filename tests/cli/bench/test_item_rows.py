from aioprocq.cli.bench.flow import Role
from aioprocq.cli.bench.item_rows import ITEM_ROWS


def test_wherever_the_app_is_async_there_is_a_mark_against_aioprocessing():
    for row in ITEM_ROWS:
        names = {contender.name for contender in row.contenders}
        if "aioprocessing" in names and len(row.metrics) == 1:
            mark = row.mark("aioprocessing", "rate")
            assert mark is not None
            assert mark.ratio == 15.0


def test_nobody_plays_a_row_with_an_owner_who_could_not():
    for row in ITEM_ROWS:
        for contender in row.contenders:
            for argument in getattr(contender.open, "args", ()):
                roles = {getattr(argument, "producer", None)}
                roles.add(getattr(argument, "consumer", None))
                if contender.name == "multiprocessing":
                    assert Role.ASYNC not in roles
