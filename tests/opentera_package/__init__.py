"""Tests with OpenTera's own published package: `make test-opentera` makes its environments."""
