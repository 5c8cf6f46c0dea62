"""Tests: pure, in memory under a Clock, and against a real server."""
