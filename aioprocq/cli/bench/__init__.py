"""`python -m aioprocq bench`.

`model` says what a benchmark is made of, `rows` what is measured, `runner` plays
it, `report` and `plot` show it. The contenders are in `flow_*`, `round_trip` and
`limit`; the processes that they hire are in `staff`.
"""
