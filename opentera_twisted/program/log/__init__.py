"""The log of ``twistd opentera-bus``.

lines        an event as one JSON object
bounded      a warning that is repeated is counted
unblocked    a stream that cannot block the reactor, though nobody reads it
log_file     a file that loses no line while it is rotated
destination  where twistd would have written, with both of these
"""

from opentera_twisted.program.log.bounded import Bounded
from opentera_twisted.program.log.destination import has_own_format, log_observer
from opentera_twisted.program.log.lines import fields_of, json_line
from opentera_twisted.program.log.unblocked import drain

__all__ = ["Bounded", "drain", "fields_of", "has_own_format", "json_line", "log_observer"]
