from aioprocq.cli.bench.job_rows import JOB_ROWS


def test_the_rows_are_about_what_the_sessions_measure():
    assert {row.metrics[0].name for row in JOB_ROWS} == {"over", "share"}
