"""Start of the ``opentera-bus`` command: Ctrl-C ends it quietly while the package is still loading.

It is outside the package, since importing anything of that takes most of the start.
"""

import signal


def main() -> None:
    """Run the command."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from opentera_twisted.cli import main as run  # noqa: PLC0415 (see above)

    run()


if __name__ == "__main__":
    main()
