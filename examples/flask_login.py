"""A Flask login that issues a session key, and a page that opens a websocket with it.

    pip install opentera-twisted[blocking] flask
    python examples/flask_login.py [PORT]

Set ``REDIS_URL`` to use another Redis, and ``WEBSOCKET`` to use another gateway.

Log in as ``zoe`` with the password ``sesame``. The page shows each event that it receives. Send one
with ``opentera-bus publish websocket.user.<uuid>.events '{"@type": "UserEvent"}'``.
"""

import hmac
import json
import os
import sys
from uuid import NAMESPACE_DNS, uuid5

from flask import Flask, Response, jsonify, request

from opentera_twisted import BusError
from opentera_twisted.blocking import BlockingBus

PASSWORDS = {"zoe": "sesame"}  # a real program stores hashes in a database

PAGE = """<!doctype html>
<title>Events</title>
<form id="login"><input name="name" value="zoe"><input name="password" type="password">
<button>Log in</button></form>
<pre id="events"></pre>
<script>
const websocket = WEBSOCKET;
const show = (text) => { document.getElementById("events").textContent += text + "\\n"; };
document.getElementById("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = await fetch("/login", {method: "POST", body: new FormData(event.target)});
  if (!answer.ok) return show("refused: " + answer.status);
  const {key} = await answer.json();
  const socket = new WebSocket(websocket + "/wss/user?id=" + encodeURIComponent(key));
  socket.onopen = () => show("connected");
  socket.onmessage = (message) => show(message.data);
  socket.onclose = (closed) => show("closed: " + closed.code);
});
</script>
"""

app = Flask(__name__)
bus = BlockingBus(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"), name="flask-login")


@app.get("/")
def page() -> Response:
    """Return the form, with the script that connects."""
    websocket = os.environ.get("WEBSOCKET", "ws://127.0.0.1:40085")
    return Response(PAGE.replace("WEBSOCKET", json.dumps(websocket), 1), mimetype="text/html")


@app.post("/login")
def login() -> tuple[Response, int]:
    """Check the password and return a key for one websocket."""
    name = request.form.get("name", "")
    password = PASSWORDS.get(name, "")
    given = request.form.get("password", "")
    if not password or not hmac.compare_digest(password.encode(), given.encode()):
        return jsonify(error="wrong name or password"), 403
    uuid = str(uuid5(NAMESPACE_DNS, name))
    try:
        key = bus.issue_key("user", uuid, ttl=60, name=name)
    except BusError:
        app.logger.exception("no key could be issued")
        return jsonify(error="try again later"), 503
    answer = jsonify(key=key, uuid=uuid)
    answer.headers["Cache-Control"] = "no-store"
    return answer, 200


if __name__ == "__main__":
    app.run(port=int(sys.argv[1]) if len(sys.argv) > 1 else 8080)
