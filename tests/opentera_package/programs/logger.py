"""Logs with OpenTera's own client: logger.py PORT RESULTS."""

import json
import sys
from pathlib import Path

import opentera.messages.python as messages
from opentera.logging.LoggingClient import LoggingClient

CONFIG = {
    "hostname": "127.0.0.1",
    "port": int(sys.argv[1]),
    "db": 0,
    "username": "",
    "password": "",
}


def main() -> None:
    """Log one message of each level, and a login."""
    client = LoggingClient(CONFIG)
    for level in ("trace", "debug", "info", "warning", "critical", "error", "fatal"):
        getattr(client, f"log_{level}")("sender", level, 5, "Zoé")
    client.send_login_event(
        sender="sender",
        level=messages.LogEvent.LOGLEVEL_INFO,
        login_type=messages.LoginEvent.LOGIN_TYPE_TOKEN,
        login_status=messages.LoginEvent.LOGIN_STATUS_SUCCESS,
        client_name="client",
        client_version="1.0",
        client_ip="127.0.0.1",
        os_name="Linux",
        os_version="6",
        user_uuid="user",
        participant_uuid=None,
        server_endpoint="/login",
        message="Zoé",
    )
    client.close()
    Path(sys.argv[2]).write_text(json.dumps("logged"))


main()
