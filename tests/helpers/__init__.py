"""Servers, programs, clients and browsers for tests."""
