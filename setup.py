"""Packaging: the packages that there are; everything else is declared in setup.cfg."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["opentera_twisted*"]), "twisted.plugins"],
)
