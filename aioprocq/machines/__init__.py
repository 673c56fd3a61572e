"""Floor 2: the hub and the peer as pure state machines, without any I/O."""
