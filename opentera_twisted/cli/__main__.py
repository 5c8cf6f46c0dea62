"""``python -m opentera_twisted.cli``, the same as ``opentera-bus``."""

from opentera_twisted.cli import main

main()
