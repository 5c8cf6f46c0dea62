"""Tests of the names that existing programs import."""
