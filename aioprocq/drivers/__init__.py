"""Floor 3: all the I/O there is. Sockets, shared memory, event loops, blocking."""
