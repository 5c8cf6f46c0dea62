"""The language checker finds bad text and accepts good text."""

from __future__ import annotations

import io
import runpy
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from tests.helpers.support import ROOT

LONG = "This sentence goes " + "on " * 22 + "to the end."
"""Too many words in a line of legal length."""

TOLD, ERRAND, EVER = (" ".join(words) for words in (["is", "told"], ["errand"], ["for", "ever"]))
"""Phrases on the avoid list, put together so that this file passes the check."""

BAD = [
    ("page.md", f"# Title\n\nShort.\n{LONG}\n", "4: sentence of 28 words"),
    ("page.md", f"* Short.\n* {LONG}\n", "2: sentence of 28 words"),
    ("page.md", f"| a | b |\n| --- | --- |\n| x | {LONG} |\n", "3: sentence of 28 words"),
    ("page.md", "Who joins meanwhile waits.\n", "1: opening"),
    ("page.md", "Fine.\n\n" + "long words " * 10 + "\n", "3: line of 110 characters"),
    ("page.md", f"The gateway {TOLD}.\n", f"1: phrase: {TOLD}"),
    ("code.py", '"""What this is."""\n', "1: opening: What this is."),
    ("code.py", 'def f():\n    """Whether it is up."""\n', "2: opening"),
    ("code.py", 'x = 1\n"""Of pings: seconds."""\n', "2: opening"),
    (
        "code.py",
        'def f():\n    """Do.\n\n    Args:\n        a: of the bus.\n    """\n',
        "5: opening",
    ),
    ("code.py", f'"""Good.\n\n{LONG}\n"""\n', "3: sentence of 28 words"),
    ("code.py", f"def test_{'x' * 56}(): ...\n", "1: test name of 61 characters"),
    ("code.py", f"# An {ERRAND} of the bus\n", f"1: phrase: {ERRAND}"),
    ("code.py", f'print("nobody {TOLD}")\n', f"1: phrase: {TOLD}"),
    ("code.py", "[one for one in x]\n", "1: phrase: for one in"),
    ("code.py", "for one in x: ...\n", "1: phrase: for one in"),
    ("unit.service", f"# Runs {EVER}\n", f"1: phrase: {EVER}"),
]

GOOD = {
    "page.md": f"""\
# How to call

Does it run? Call a procedure with
`{LONG}`:

    {LONG} {LONG}

```text
{LONG}
```

* One fact a sentence. See [the page](https://example.org/{"with/a/long/address/" * 5}).
""",
    "code.py": f'''\
"""Calls to other programs.

call     sends a request and waits, and {LONG.lower()}
"""


def f(a):
    """Call a procedure.

    Args:
        a: Name of the procedure.
    """
    for name in a:
        print(name)
''',
}


check_language = runpy.run_path(str(ROOT / "tools" / "check_language.py"))


def check(folder: Path, name: str, text: str) -> tuple[int, list[str]]:
    """Run the program on a file; return its status and output."""
    (folder / name).write_text(text)
    printed = io.StringIO()
    with redirect_stdout(printed):
        status = check_language["main"]([str(folder)])
    return status, printed.getvalue().splitlines()


@pytest.mark.parametrize(("name", "text", "finding"), BAD)
def test_a_bad_text_is_found(tmp_path: Path, name: str, text: str, finding: str) -> None:
    status, (line,) = check(tmp_path, name, text)
    assert status == 1
    assert line.startswith(f"{tmp_path / name}:{finding}")


@pytest.mark.parametrize("name", GOOD)
def test_a_good_text_passes(tmp_path: Path, name: str) -> None:
    assert check(tmp_path, name, GOOD[name]) == (0, [])
