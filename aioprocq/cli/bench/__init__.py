"""`python -m aioprocq bench`.

`model` says what a benchmark is made of, `rows` and the `*_rows` what is measured.
`runner` plays the rows, each contender in a process of its own (`hosting`); `report`
and `plot` show what came of it.

A contender is a session (`sessions`), most often with a kind of queue (`kinds`;
those of other libraries are in `others`) and workers (`staff`): `flow_*`,
`round_trip`, `jobs`.
To add a row, add it to the tuple at the end of its module.
"""
