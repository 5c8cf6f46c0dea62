"""Third-party websocket clients against a gateway that runs as users run it."""
