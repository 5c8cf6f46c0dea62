"""Separate processes, so that no two programs share an interpreter or a reactor.

Each is a module run as ``python -m benchmarks.programs.<name>``. It writes one JSON object a line
to standard output: a server when it is ready, a load generator its measurements.
"""
