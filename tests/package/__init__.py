"""Tests of built packages, installed as users do and run elsewhere by ``make package``."""
