"""Runs a program after the line that installs our names: moved.py BLOCKING PROGRAM …."""

import runpy
import sys

from opentera_twisted.opentera import install

install(blocking_in_reactor=sys.argv[1] == "1")
sys.argv[:2] = []
runpy.run_path(sys.argv[0], run_name="__main__")
