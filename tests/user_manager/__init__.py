"""Tests of the user manager module."""
