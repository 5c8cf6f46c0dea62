"""Admission with a span for each login and each return."""

from __future__ import annotations

from http import HTTPStatus

from opentera_twisted.gateway.admission import Admission, AdmittedClient
from opentera_twisted.gateway.login import Login, Refusal
from opentera_twisted.sessions import Identity
from opentera_twisted.tracing import begin_request, class_of, fail, inside, span_of

_STATUS = "http.response.status_code"


class TracedAdmission(Admission):
    """Admission control with spans, which hold the kind of the client and no key."""

    async def admit(self, client: AdmittedClient, login: Login) -> Identity:
        """Redeem the session key or recovery token in a span."""
        operation = "login" if login.received is None else "return"
        attributes = {"http.request.method": "GET", "http.route": f"/wss/{login.kind}"}
        context = begin_request(f"{operation} {login.kind}", attributes)
        span = span_of(context)
        try:
            with inside(context):
                identity = await super().admit(client, login)
        except Refusal as refusal:
            span.set_attribute(_STATUS, refusal.status)
            if refusal.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                fail(span, str(int(refusal.status)))
            raise
        except BaseException as error:
            fail(span, class_of(error))
            raise
        else:
            span.set_attribute(_STATUS, HTTPStatus.SWITCHING_PROTOCOLS)
            return identity
        finally:
            span.end()
