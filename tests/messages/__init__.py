"""Tests of the protobuf messages."""
