"""Compile the .proto files to message modules: python compile_protos.py DIRECTORY."""

import re
import subprocess
import sys
from pathlib import Path

PROTO = Path(__file__).parents[1] / "opentera_twisted" / "messages"


def generate(directory: Path) -> None:
    """Write a module and its type stub for each .proto file into a directory."""
    protoc = Path(sys.executable).with_name("protoc")
    files = sorted(path.name for path in PROTO.glob("*.proto"))
    subprocess.run(
        [protoc, "-I.", f"--python_out={directory}", f"--pyi_out={directory}", *files],
        cwd=PROTO,
        check=True,
    )
    for path in (*directory.glob("*_pb2.py"), *directory.glob("*_pb2.pyi")):
        text = path.read_text()
        # The names of the .proto files have no folder; the modules are in a package.
        text = re.sub(r"^import (\w+_pb2) as", r"from . import \1 as", text, flags=re.MULTILINE)
        text = text.replace(", _Mapping]", ", _Mapping[str, object]]")
        path.write_text(text)


if __name__ == "__main__":
    generate(Path(sys.argv[1]).resolve())
