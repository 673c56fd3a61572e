"""The examples run as they stand, and print what they say."""

import pytest

from .programs import ROOT, output_of

PRINTED = {
    "early_exit": "the child took 3 blocks; the other 97 are still there\n",
    "fastapi_service": (
        "40 requests were answered, and one worker was killed meanwhile\n"
    ),
    "loaded_model": "40 answers, at most 15 by each process, by one model each\n",
    "many_files": (
        "module_100.py: SyntaxError\n"
        "module_200.py: WorkerCrashed\n"
        "5960 functions in 298 of 300 files\n"
    ),
    "one_writer_many_readers": "4 readers have read 2000 lines, each line once\n",
    "pipeline": "120000 words of 1373340 letters have gone through three stages\n",
    "producer_consumer": "2 producers made 200 items, and all were consumed\n",
    "request_reply": "3 clients have got their answers\n",
    "sentinel_and_shutdown": "by sentinel: 499500\nby shutdown: 499500\n",
    "supervised_pipeline": "90000 words were counted, with 1 restart of a worker\n",
    "threads_of_a_worker": "200 jobs were done by the 4 threads of one worker\n",
    "token_counter": "the token was passed 2000 times\n",
    "uneven_workers": "15 items done, and all workers have ended\n",
}


def test_every_example_is_run():
    assert {path.stem for path in ROOT.glob("examples/*.py")} == PRINTED.keys()


@pytest.mark.parametrize("name", PRINTED)
def test_example(name):
    assert output_of(ROOT / "examples" / f"{name}.py") == PRINTED[name]
