"""Where compiled code is kept: found again by another process, never stale, and done without where nothing is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelcollapse import compiled

USE = """
import json, sys
import pytest

from modelcollapse import compiled
from modelcollapse.families.gaussian_mixture import clustering
compiled.MODULES = compiled.MODULES if len(sys.argv) < 2 else (*compiled.MODULES, sys.argv[1])
compiled._folder.cache_clear()
function = compiled.compiled(clustering._product.py_func)
import numpy
assert function(numpy.ones(3), numpy.arange(3.0)) == 3
kept = compiled._folder()
print(json.dumps([str(kept) if kept else None, sum(function.stats.cache_hits.values())]))
"""


def start(cache, *arguments):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    return subprocess.Popen([sys.executable, "-c", USE, *arguments], env=environment, stdout=subprocess.PIPE)


def use(cache, *arguments):
    process = start(cache, *arguments)
    out, _ = process.communicate()
    assert process.returncode == 0
    return json.loads(out)


def test_another_process_finds_what_was_compiled(tmp_path):
    together = [start(tmp_path) for _ in range(2)]
    assert all(process.wait() == 0 for process in together)
    folder, hits = use(tmp_path)
    assert hits == 1
    assert folder.startswith(str(tmp_path))


def test_an_edited_module_finds_nothing_stale(tmp_path):
    source = tmp_path / "loops.py"
    source.write_text("before")
    before, _ = use(tmp_path, str(source))
    source.write_text("after")
    after, hits = use(tmp_path, str(source))
    assert before != after
    assert hits == 0


def test_every_module_with_compiled_functions_is_in_the_digest():
    package = Path(compiled.__file__).parent
    found = {
        path.relative_to(package).as_posix() for path in package.rglob("*.py") if "compiled\ndef " in path.read_text()
    }
    assert found | {"compiled.py"} == set(compiled.MODULES)


def test_where_nothing_can_be_kept_it_is_compiled_all_the_same(tmp_path):
    (tmp_path / "file").touch()
    assert use(tmp_path / "file" / "cache") == [None, 0]


@pytest.mark.parametrize("damage", ["emptied", "cut off", "altered"])
def test_damaged_machine_code_is_compiled_again(tmp_path, monkeypatch, damage):
    """What a power cut or a full disk leaves: found not to be whole, and written anew."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compiled, "_folder", compiled._folder.__wrapped__)

    def hits():
        """How many of two calls of a newly started program find machine code, of lists and of single numbers."""
        function = compiled.compiled(_doubled)
        assert (function(2), function(2.5)) == (4, 5.0)
        return sum(function.stats.cache_hits.values())

    assert (hits(), hits()) == (0, 2)
    # The index last: without it the others are compiled again, under other names.
    files = sorted(
        (path for path in tmp_path.rglob("*") if path.suffix in (".nbi", ".nbc")), key=lambda path: path.suffix
    )
    assert [path.suffix for path in files] == [".nbc", ".nbc", ".nbi"]
    for path in files:
        content = path.read_bytes()
        middle = len(content) // 2
        altered = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        path.write_bytes({"emptied": b"", "cut off": content[:-1], "altered": altered}[damage])
        assert hits() == {".nbc": 1, ".nbi": 0}[path.suffix]
        assert hits() == 2


def _doubled(number):
    return number + number
