"""Options file in TOML, with the line of each setting."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen

from opentera_twisted._internal.private_file import read_private_file
from opentera_twisted.errors import InvalidArgument

_PLACE: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


@frozen
class Configuration:
    """A parsed options file.

    Attributes:
        path: path of the file, as given.
        settings: TOML values by name of the option.
        exposure: remedy if others may read the file and it contains a secret; else empty.
    """

    path: str
    settings: Mapping[str, Any]
    exposure: str
    _lines: tuple[str, ...]

    @classmethod
    def read(cls, path: str) -> Configuration:
        """Read a file.

        Raises:
            InvalidArgument: the file is unreadable, or not TOML.
        """
        file = read_private_file(path)
        data = file.data
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise InvalidArgument(f"{path}:{line}: not UTF-8") from None
        lines = tuple(text.replace("\r\n", "\n").split("\n"))
        try:
            settings = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            place = _PLACE.search(str(error))
            if place is None or place[1] is None:
                number, where = str(len(lines)), "the end of the file"
            else:
                number, where = place[1], f"column {place[2]}"
            what = _PLACE.sub("", str(error))
            raise InvalidArgument(f"{path}:{number}: not TOML at {where}: {what}") from None
        except RecursionError:
            raise InvalidArgument(f"{path}: nested too deeply") from None
        return cls(path, settings, file.exposure, lines)

    def line(self, name: str, element: str | None = None) -> int:
        """Return the line of a setting, or of an element of a list, from 1."""
        first, last = self._statement(name)
        if element is not None:
            written = (json.dumps(element, ensure_ascii=False), f"'{element}'", element)
            for text in written:
                for number in range(first, last):
                    if text in self._lines[number]:
                        return number + 1
        return first + 1

    def _statement(self, name: str) -> tuple[int, int]:
        """Return the first line of a setting, from 0, and the line after its last.

        tomllib does not report lines, so parse growing beginnings of the file.
        """
        start = 0
        for end in range(1, len(self._lines) + 1):
            try:
                found = tomllib.loads("\n".join(self._lines[:end]))
            except tomllib.TOMLDecodeError:  # inside a list or a string
                continue
            if name in found:
                while start < end - 1 and not self._lines[start].partition("#")[0].strip():
                    start += 1
                return start, end
            start = end
        return 0, len(self._lines)
