"""The log of ``twistd opentera-bus``.

line_format  a log event as one JSON object
bounded      rate limit of repeated warnings
unblocked    a stream that cannot block the reactor
log_file     a log file whose rotation loses no line
audit_destination  the audit log's own destination
destination  twistd's usual destination, with all of these
"""

from opentera_twisted.program.log.audit_destination import audit_observer
from opentera_twisted.program.log.destination import has_own_format, log_observer
from opentera_twisted.program.log.line_format import fields_of
from opentera_twisted.program.log.unblocked import drain, lost_by_log

__all__ = [
    "audit_observer",
    "drain",
    "fields_of",
    "has_own_format",
    "log_observer",
    "lost_by_log",
]
