"""Failures of Redis and of the network to it: real servers, real breaks."""
