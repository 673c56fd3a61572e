"""One contract, run over every face of a queue."""
