"""Tests of the reactor in a thread of its own."""
