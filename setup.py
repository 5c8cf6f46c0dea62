"""Packaging: the packages and the page of an index; setup.cfg declares everything else."""

import re
from pathlib import Path

PICTURE = re.compile(r"<picture>.*?</picture>\n+", re.DOTALL)
LINK = re.compile(r"\[([^\]]+)\]\((?!https?:)([^)#]+)[^)]*\)")

SOURCES = """
The paths on this page, such as `docs/index.md`, are in the source distribution: `pip download
--no-deps --no-binary :all: opentera-twisted`.
"""


def index_page(readme: str) -> str:
    """Return the README for a package index, which lacks the files behind relative links."""

    def path(link: re.Match[str]) -> str:
        text, name = link.groups()
        return f"`{name}`" if text == name else f"{text} (`{name}`)"

    return LINK.sub(path, PICTURE.sub("", readme)) + SOURCES


if __name__ == "__main__":
    from setuptools import find_packages, setup  # a test runs this file without it

    setup(
        packages=[*find_packages(include=["opentera_twisted*"]), "twisted.plugins"],
        long_description=index_page(Path(__file__).with_name("README.md").read_text("utf-8")),
    )
