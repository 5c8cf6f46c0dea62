"""Tests of the websocket gateway."""
