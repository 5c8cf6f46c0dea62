"""Tests of the fixtures for users' own tests."""
