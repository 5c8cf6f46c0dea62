"""The tree: layered imports, a docstring in every file, and the drawings."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from configparser import ConfigParser
from importlib import import_module
from pathlib import Path

import pytest

import opentera_twisted
from opentera_twisted._internal.extras import EXTRAS_OF
from tests.helpers.processes import ENVIRONMENT, UNMEASURED
from tests.helpers.support import GUARD, ROOT
from tools.oldest import oldest

FILES = [
    path
    for folder in ("opentera_twisted", "twisted", "tests", "examples", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if not path.name.endswith("_pb2.py") and "/." not in str(path.relative_to(ROOT))
]


def test_a_module_imports_only_from_lower_layers() -> None:
    command = "import sys; from importlinter.cli import lint_imports_command as run; run()"
    done = subprocess.run(
        [sys.executable, "-c", command, "--no-cache"],
        cwd=ROOT,
        env={**ENVIRONMENT, **UNMEASURED},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_every_file_begins_with_a_docstring() -> None:
    first_line = re.compile(r'(?:#.*\n)*r?"""(.*?[.?…])(?:"""|\n)')  # parsing takes seconds
    wrong = [
        str(path.relative_to(ROOT)) for path in FILES if not first_line.match(path.read_text())
    ]
    assert not wrong


# The drawing in the docs has the modules at the top of the package.
PACKAGES = [
    *sorted(path.parent for path in (ROOT / "opentera_twisted").glob("*/**/__init__.py")),
    ROOT / "benchmarks",
]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_every_package_names_its_modules(package: Path) -> None:
    docstring = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
    modules = {
        file.stem for file in FILES if file.parent == package and not file.stem.startswith("_")
    }
    assert not modules - set(re.findall(r"^ *(\w+) {2,}", docstring, re.MULTILINE))


def test_the_plugin_folders_are_not_packages() -> None:
    assert not (ROOT / "twisted" / "__init__.py").exists()
    assert not (ROOT / "twisted" / "plugins" / "__init__.py").exists()


def drawn(page: str, heading: str, indent: int) -> list[str]:
    """Return the names in a page's drawing of a tree, in order; folders end with a slash."""
    text = (ROOT / page).read_text().partition(heading)[2]
    found = re.search(r"(?:^ {4}.*\n)+", text, re.MULTILINE)
    assert found is not None
    return re.findall(rf"^ {{{indent}}}(\S+)(?: {{2,}}|$)", found[0], re.MULTILINE)


def present(folder: Path) -> set[str]:
    """Return a folder's modules and packages as drawn."""
    # A moved package leaves a folder of bytecode behind.
    packages = {f"{path.parent.name}/" for path in folder.glob("*/__init__.py")}
    return packages | {path.name for path in folder.glob("*.py")} - {"__init__.py"}


def test_the_drawing_of_the_package_is_complete() -> None:
    names = drawn("docs/explanation/architecture.md", "# Architecture", 6)
    assert sorted(names) == sorted(present(ROOT / "opentera_twisted"))


def test_the_drawing_of_the_package_is_in_the_order_of_imports() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contract, *_ = settings["tool"]["importlinter"]["contracts"]
    layers = [{*layer.split(" | ")} for layer in reversed(contract["layers"])]
    names = [
        name.removesuffix("/").removesuffix(".py")
        for name in drawn("docs/explanation/architecture.md", "# Architecture", 6)
    ]
    for layer in layers:
        here, names = names[: len(layer)], names[len(layer) :]
        assert {*here} == layer
    assert not names


def test_the_table_of_changes_names_existing_files() -> None:
    page = (ROOT / "docs/explanation/architecture.md").read_text()
    table = page.partition("| to change | open |")[2].partition("\n\n")[0]
    names = re.findall(r"`([\w/]+(?:\.py|/))`", table)
    assert "gateway/limits.py" in names
    assert not [name for name in names if not (ROOT / "opentera_twisted" / name).exists()]


def test_the_drawing_of_the_checkout_is_complete() -> None:
    names = {name.removesuffix("/") for name in drawn("CONTRIBUTING.md", "## Layout", 4)}
    assert not {name for name in names if not (ROOT / name).exists()}
    if (ROOT / ".git").exists():  # a source distribution lacks them
        command = ["git", "ls-files"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert names == {line.partition("/")[0] for line in listed.stdout.splitlines()} - {
            ".gitignore"
        }


def test_every_dependency_has_a_lower_bound_and_its_extra() -> None:
    settings = (ROOT / "setup.cfg").read_text()
    oldest(settings)
    parsed = ConfigParser()
    parsed.read_string(settings)  # a source distribution has a rewritten copy
    for module, extras in EXTRAS_OF.items():
        for extra in extras.split(","):
            assert module.replace(".", "-") in parsed["options.extras_require"][extra]


NO_HIREDIS = """
import sys
sys.modules["hiredis"] = None  # as if it were not installed
for module in ("opentera_twisted.bus", "opentera_twisted.blocking", "opentera_twisted.testing"):
    try:
        __import__(module)
    except ModuleNotFoundError as error:
        print(error)
from opentera_twisted.cli import main
sys.argv = ["opentera-bus", "get", "a"]
main()
"""


def test_a_missing_dependency_is_named() -> None:
    command = [sys.executable, "-c", NO_HIREDIS]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=GUARD)
    expected = "hiredis is missing, which opentera-twisted needs: pip install hiredis"
    assert done.stdout.splitlines() == [expected] * 3
    assert done.stderr == f"opentera-bus: {expected}\n"


def test_a_dependency_without_a_lower_bound_is_refused() -> None:
    for wrong in ("klein", "klein < 3", "klein == 23.12"):
        with pytest.raises(ValueError, match="lower bound"):
            oldest(f"[options]\ninstall_requires =\n    {wrong}\n[options.extras_require]\n")


def test_importing_the_package_loads_no_dependency() -> None:
    program = "import sys, opentera_twisted.cli; print(*sys.modules)"
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**ENVIRONMENT, **UNMEASURED},
        capture_output=True,
        text=True,
        check=True,
    )
    modules = done.stdout.split()
    loaded = {name.partition(".")[0] for name in modules}
    assert "opentera_twisted" in loaded
    assert not loaded & {"attr", "autobahn", "click", "google", "twisted", "txredisapi"}
    assert "zope.interface" not in modules  # older versions put a bare zope into each process


def test_lazy_imports_agree_with_type_checking_imports() -> None:
    tree = ast.parse((ROOT / "opentera_twisted" / "__init__.py").read_text())
    imported = {
        name.name: node.module
        for branch in tree.body
        if isinstance(branch, ast.If)
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }
    assert sorted(imported) == opentera_twisted.__all__
    for name, module in imported.items():
        assert getattr(opentera_twisted, name) is getattr(import_module(str(module)), name)
    assert {*opentera_twisted.__all__} <= {*dir(opentera_twisted)}
    with pytest.raises(AttributeError, match="no attribute 'Buss'"):
        _ = opentera_twisted.Buss  # type: ignore[attr-defined]
