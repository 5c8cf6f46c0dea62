"""Tests of the `opentera-bus` command."""
