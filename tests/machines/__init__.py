"""The pure machines: each by itself, and all of them against a model."""
