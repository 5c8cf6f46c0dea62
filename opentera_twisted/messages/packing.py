"""The earlier name of `opentera_twisted.messages.envelopes`."""

import warnings

from opentera_twisted.messages.envelopes import *  # noqa: F403 (every public name)

warnings.warn(
    "opentera_twisted.messages.packing: import opentera_twisted.messages.envelopes",
    DeprecationWarning,
    stacklevel=2,
)
