"""Calls of functions in other processes: WorkerPool, on queues and the supervisor."""
