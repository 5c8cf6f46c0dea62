"""Tests of the twistd program."""
