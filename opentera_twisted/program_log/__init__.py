"""The log of ``twistd opentera-bus``.

lines        an event as one JSON object
bounded      a warning that is repeated is counted
destination  where twistd would have written, with both of these
"""

from opentera_twisted.program_log.bounded import Bounded
from opentera_twisted.program_log.destination import has_own_format, log_observer
from opentera_twisted.program_log.lines import fields_of, json_line

__all__ = ["Bounded", "fields_of", "has_own_format", "json_line", "log_observer"]
