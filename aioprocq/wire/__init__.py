"""Floor 1: what travels between processes, and how it is written down."""
