"""Processes that are killed, stopped, starved or hostile: everybody else carries on."""
