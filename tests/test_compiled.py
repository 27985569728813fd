"""Where compiled code is kept: found again by another process, never stale, and done without where nothing is."""

import json
import os
import subprocess
import sys
from pathlib import Path

from modelcollapse import compiled

USE = """
import json, sys
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
