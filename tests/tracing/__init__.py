"""Traces: spans of calls, deliveries, logins and commands."""
