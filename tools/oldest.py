"""Write a constraint for each dependency's oldest allowed version: python oldest.py setup.cfg."""

import configparser
import re
import sys
from pathlib import Path

NOT_OURS = {"bench", "dev"}
"""Extras for developers of the package; users install none of them."""

BOUND = re.compile(r"^([\w.-]+)(?:\[[\w,]+\])?\s*>=\s*([\w.]+)", re.ASCII)


def oldest(settings: str) -> dict[str, str]:
    """Each dependency of the package and its extras with its lower bound, which all must have."""
    parser = configparser.ConfigParser()
    parser.read_string(settings)
    lists = [parser["options"]["install_requires"]] + [
        text for extra, text in parser["options.extras_require"].items() if extra not in NOT_OURS
    ]
    bounds = {}
    for line in "\n".join(lists).splitlines():
        if not line or line.startswith("#"):
            continue
        found = BOUND.match(line)
        if found is None:
            raise ValueError(f"{line!r} has no lower bound such as >= 1.0")
        bounds[found[1]] = found[2]
    return bounds


if __name__ == "__main__":
    for name, version in oldest(Path(sys.argv[1]).read_text()).items():
        print(f"{name}=={version}")
