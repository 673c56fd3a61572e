"""What travels between processes, and how it is written down."""
