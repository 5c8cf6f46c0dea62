"""Tests of calls and procedures."""
