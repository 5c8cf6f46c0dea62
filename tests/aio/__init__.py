"""Tests of `AsyncioBus`."""
