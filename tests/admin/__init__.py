"""Tests of the admin endpoint and its page."""
