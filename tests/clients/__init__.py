"""Websocket clients that nobody here wrote, each against a gateway as its users run it."""
