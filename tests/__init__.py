"""Tests: pure ones, ones in memory under a Clock, and ones against a real server."""
