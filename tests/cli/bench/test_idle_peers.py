import aioprocq
from aioprocq.cli.bench.idle_peers import breed
from aioprocq.cli.bench.staff import Staff


async def test_as_many_peers_as_ordered_are_connected_and_end_with_their_breeder():
    queue, staff = aioprocq.Queue[int](), Staff()
    staff.hire(breed, queue)
    staff.order(3)
    pids = {await queue.get() for _ in range(3)}
    await staff.spans_async()
    assert len(pids) == 3
    assert queue.statistics().peers == 3
    staff.close()
    await queue.aclose()
