"""Checks of the Redis that the program uses, at its start and in ``opentera-bus doctor``.

finding  one check's verdict, its reason, and the remedy
info     the reply to INFO, parsed
server   judgements of the reply: version, role, memory, eviction, buffers, persistence
"""
