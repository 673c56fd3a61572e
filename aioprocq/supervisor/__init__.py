"""Supervised worker processes: the app's side, and the worker's."""
