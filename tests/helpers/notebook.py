"""Run a notebook's cells in one event loop, as its kernel does."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import sys
from pathlib import Path
from typing import Any


async def run(name: str, text: str) -> None:
    """Run all code cells, and print the values of their last expressions."""
    names: dict[str, Any] = {}
    for number, cell in enumerate(json.loads(text)["cells"]):
        if cell["cell_type"] != "code":
            continue
        tree = ast.parse("".join(cell["source"]))
        if isinstance(last := tree.body[-1], ast.Expr):
            shown = ast.parse("print(value)").body[0]
            target = ast.Name("value", ast.Store())
            tree.body[-1:] = [ast.Assign([target], last.value), shown]
        code = compile(
            ast.fix_missing_locations(tree),
            f"{name}, cell {number}",
            "exec",
            ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        )
        result = eval(code, names)
        if inspect.isawaitable(result):
            await result


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], Path(sys.argv[1]).read_text()))
