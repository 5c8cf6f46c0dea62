"""Check the rules of CONTRIBUTING.md, "Language", that a program can check.

python tools/check_language.py [PATH ...]

Prints ``file:line: rule: text`` for each finding and exits with 1 if there are any. Without paths,
checks the whole checkout.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent

WORDS = 25
"""Words in a sentence of a page or a docstring, at most."""

NAME = 60
"""Characters in the name of a test, at most."""

LINE = 100
"""Characters in a line of a page, at most; ruff checks those of Python."""

OPENINGS = re.compile(
    r"[\"'*(]*(?:how|that|what|where|which|who|why|whatever|whether|whoever|whom|whose)\b",
    re.IGNORECASE,
)
"""Words that begin a clause where a verb or a noun should lead."""

PHRASES = (
    r"(?:is|are|was|were|be|been)\s(?:told|asked|heard|had)(?!\sby)",
    r"(?:is|are|was|were|be)\slet\sin",
    r"(?:is|are|was|were|be)\ssent\saway",
    r"(?:is|are|was|were)\s(?:no|not\san?)\serror",
    r"(?:who|whoever)\s(?:comes|asks|calls|listens|serves|sends|connects|is\shere|has\snone)",
    r"those\swho",
    r"what\scomes",
    r"of\s(?:a|an|the|any|each|whom)\s[\w-]+\sthe",
    r"errands?",
    r"journeys?",
    r"doorkeeper",
    r"for\sever",
    r"tells?\s(?:of|apart|whether|that)",
    r"deployed\s(?:programs?|servers?|services?|ones|logging)",
    r"stands?\s(?:in|twice|once|still|alone)",
    r"looked\sat",
    r"knows?\sof",
)
AVOIDED = re.compile(rf"\b(?:{'|'.join(PHRASES)})\b", re.IGNORECASE)

FOLDERS = (
    *("benchmarks", "contrib", "docs", "examples", "newsfragments"),
    *("opentera_twisted", "tests", "tools", "twisted"),
)
PLAIN = {
    *(".acl", ".cfg", ".conf", ".css", ".html", ".js", ".service", ".socket", ".toml", ".yml"),
    *("Dockerfile", "Makefile"),
}
"""Endings, or whole names, of files in which only phrases are checked."""

UNWRAPPED = {"CHANGELOG.md", "newsfragments"}
"""Pages in which an entry is one line."""

ENTRY = re.compile(r"\s*[*\w]+(?: \(.*?\))?: |\s*([*-]|\d+\.) ")
"""The beginning of an argument, an attribute or a list item in a docstring."""

DRAWN = re.compile(r"\S {2,}\S|^ {10}|^\s*(>>>|\.\. )|::?$|-->")
"""A line of a docstring that belongs to a table, a drawing, an example or a heading."""

WRITTEN = re.compile(
    r"<!-- (\w+): .*? writes what follows -->.*?<!-- end of \1 -->|<!-- table -->.*", re.DOTALL
)
"""The part of a page that a program writes."""

GENERATED = re.compile(r"_pb2\.pyi?$")


class Finding(NamedTuple):
    """A line that breaks a rule."""

    line: int
    rule: str
    text: str


def opens_with_a_clause(text: str) -> bool:
    """Return True for a statement that begins with a question word."""
    return bool(OPENINGS.match(text)) and not text.rstrip("*_)").endswith("?")


def avoided(line: int, text: str) -> Iterator[Finding]:
    """Find phrases on the avoid list in one text."""
    for number, part in enumerate(text.splitlines()):
        for found in AVOIDED.finditer(part):
            yield Finding(line + number, "phrase", found[0])


def plain(text: str) -> str:
    """Remove markup; a piece of code, or a link's target, counts as no more than a word."""
    text = re.sub(r"``.+?``|`[^`]+`", "X", text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"<[^>]+>|\*+|:\w+:", "", text)


def sentences(line: int, text: str) -> Iterator[tuple[int, str]]:
    """Split a paragraph into sentences, each with its first line."""
    begin = 0
    for end in re.finditer(r"[.!?…][\"')*]*(?=\s|$)|\Z", text):
        sentence = text[begin : end.end()]
        if sentence.strip():
            lead = len(sentence) - len(sentence.lstrip())
            yield line + text.count("\n", 0, begin + lead), " ".join(sentence.split())
        begin = end.end()


def prose(line: int, text: str) -> Iterator[Finding]:
    """Check the sentences of one paragraph."""
    for number, sentence in sentences(line, text):
        words = [word for word in plain(sentence).split() if re.search(r"\w", word)]
        if len(words) > WORDS:
            yield Finding(number, f"sentence of {len(words)} words", shortened(sentence))
        if opens_with_a_clause(sentence):
            yield Finding(number, "opening", shortened(sentence))


def shortened(text: str) -> str:
    """Return the beginning of a text."""
    return text if len(text) <= 70 else f"{text[:69]}…"


def paragraphs(text: str) -> Iterator[tuple[int, str]]:
    """Split Markdown into paragraphs, list items and cells of tables, each with its first line."""
    fence = code = False
    blank = True
    begin, held = 0, list[str]()
    for number, raw in enumerate([*text.splitlines(), ""], 1):
        line = raw.strip()
        marker = line.startswith(("```", "~~~"))
        fence ^= marker
        code = raw.startswith("    ") and (code or blank)
        blank = not line
        row = line.startswith("|")
        skipped = fence or marker or code or row or blank or line.startswith(("<", "#", "!["))
        if held and (skipped or re.match(r"([*+-]|\d+\.)\s", line)):
            yield begin, "\n".join(held)
            held = []
        if row and not fence:
            yield from ((number, cell.strip()) for cell in re.split(r"(?<!\\)\|", line) if cell)
        if not skipped:
            begin = begin if held else number
            held.append(re.sub(r"^([*+-]|\d+\.|>)\s+", "", line))


def long_lines(text: str) -> Iterator[Finding]:
    """Find lines of prose that are too long."""
    fence = False
    for number, line in enumerate(text.splitlines(), 1):
        marker = line.lstrip().startswith("```")
        fence ^= marker
        free = (
            fence or marker or line.startswith("    ") or line.lstrip().startswith(("|", "<", "!["))
        )
        if len(line) > LINE and not free and max(map(len, line.split())) < LINE * 0.6:
            yield Finding(number, f"line of {len(line)} characters", shortened(line))


def check_page(path: Path) -> Iterator[Finding]:
    """Check a page of Markdown."""
    text = WRITTEN.sub(lambda found: "\n" * found[0].count("\n"), path.read_text())
    for line, paragraph in paragraphs(text):
        yield from prose(line, paragraph)
        yield from avoided(line, re.sub(r"`[^`]+`", "X", paragraph))
    if not {path.name, path.parent.name} & UNWRAPPED:
        yield from long_lines(text)


def docstrings(tree: ast.AST) -> Iterator[ast.Constant]:
    """Find docstrings, those of attributes too."""
    for node in ast.walk(tree):
        body = getattr(node, "body", ())
        for statement in body if isinstance(body, list) else ():
            if (
                isinstance(statement, ast.Expr)
                and isinstance(statement.value, ast.Constant)
                and isinstance(statement.value.value, str)
            ):
                yield statement.value


def check_docstring(node: ast.Constant) -> Iterator[Finding]:
    """Check a docstring: its first word, its sentences, and the form of its entries."""
    text = str(node.value)
    if re.match(r"(?i)of\b", text.lstrip()):
        yield Finding(node.lineno, "opening", shortened(text.strip()))
    begin, held = node.lineno, list[str]()
    for number, line in enumerate([*text.splitlines(), ""]):
        entry = ENTRY.match(line)
        if held and (not line.strip() or entry):
            yield from prose(begin, "\n".join(held))
            held = []
        if found := re.match(r"\s+\w+: of\b.*", line):
            yield Finding(node.lineno + number, "opening", shortened(found[0].strip()))
        if line.strip() and not DRAWN.search(line):
            begin = begin if held else node.lineno + number
            held.append(line[entry.end() :] if entry else line)


def check_node(node: ast.AST) -> Iterator[Finding]:
    """Check a text or a name in code."""
    match node:
        case ast.Constant(value=str(text)) if " " in text:
            yield from avoided(node.lineno, text)
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            if name.startswith("test") and len(name) > NAME:
                yield Finding(node.lineno, f"test name of {len(name)} characters", name)
            if name.startswith("test"):
                yield from avoided(node.lineno, name.replace("_", " "))
        case (
            ast.For(target=target) | ast.AsyncFor(target=target) | ast.comprehension(target=target)
        ) if isinstance(target, ast.Name) and target.id == "one":
            yield Finding(target.lineno, "phrase", f"for {target.id} in")


def check_code(path: Path) -> Iterator[Finding]:
    """Check the docstrings, comments, texts and names of Python code."""
    source = path.read_text()
    tree = ast.parse(source)
    for docstring in docstrings(tree):
        yield from check_docstring(docstring)
    for node in ast.walk(tree):
        yield from check_node(node)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield from avoided(token.start[0], token.string)


def check(path: Path) -> list[Finding]:
    """Check one file by the rules for its kind."""
    match path.suffix:
        case ".md":
            found = check_page(path)
        case ".py":
            found = check_code(path)
        case _:
            found = avoided(1, path.read_text())
    return sorted(set(found))


def files(paths: Iterable[Path]) -> Iterator[Path]:
    """Find the files to check below some paths."""
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else (path,):
            known = (file.suffix or file.name) in {".md", ".py", *PLAIN}
            hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
            if known and file.is_file() and not hidden and not GENERATED.search(file.name):
                yield file


def main(arguments: list[str]) -> int:
    """Print all findings; return the exit status."""
    top = [file for file in ROOT.iterdir() if file.is_file()]
    status = 0
    chosen = [Path(path) for path in arguments] or [*top, *(ROOT / name for name in FOLDERS)]
    for file in files(chosen):
        for finding in check(file):
            shown = file.relative_to(ROOT) if file.is_relative_to(ROOT) else file
            print(f"{shown}:{finding.line}: {finding.rule}: {finding.text}")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
