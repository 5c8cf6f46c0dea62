"""What runs in processes of its own, so that no two of them share an interpreter or a reactor.

Each is a module run as ``python -m benchmarks.programs.<name>``; it writes one JSON object a line
to standard output: a server that it is ready, a load generator what it measured.
"""
