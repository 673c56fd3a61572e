"""Floor 4: what users hold."""
