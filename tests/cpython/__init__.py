"""CPython's own tests of its queues, run on ours."""
