"""Runs code of this project with every Python of this machine that the project supports."""

import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src"
# A package in place of modelcollapse itself, which imports libraries that other interpreters do not have.
WITHOUT_LIBRARIES = f"""
import sys, types
package = types.ModuleType("modelcollapse")
package.__path__ = [{str(SOURCE / "modelcollapse")!r}]
sys.modules["modelcollapse"] = package
"""


def interpreters() -> list[Path]:
    found = {sys.version_info[:2]: Path(sys.executable)}
    for minor in (11, 12, 13):
        for folder in (*Path.home().glob(f".pyenv/versions/3.{minor}.*/bin"), Path("/usr/bin"), Path("/usr/local/bin")):
            python = folder / f"python3.{minor}"
            if python.exists():
                found.setdefault((3, minor), python)
    return list(found.values())


def run_python(python: Path, code: str, *arguments: str | Path, folder: Path | None = None) -> str:
    command = [str(python), "-I", "-c", WITHOUT_LIBRARIES + code, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=120).stdout
