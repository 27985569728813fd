import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelcollapse.code_digests import modules
from modelcollapse.code_digests.modules import imported_modules, module_closure, module_files, modules_digest
from modelcollapse.code_digests.neutral import Neutral

HOUSE = Path(__file__).resolve().parents[2] / "src" / "modelcollapse"
NOTHING = Neutral()
FILES = {
    "__init__.py": "from lab.public import run",
    "public.py": "def run(): pass",
    "chain.py": """
        import lab.data.text as text
        from lab.models import base
        from lab.models.base import Family
        from lab.record.log import write
        import numpy
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            from lab.figures import draw
        def go():
            from lab import lazy
            return show() + text.read()
        def show():
            from lab import figures
            print(figures)
    """,
    "lazy.py": "from .data import shards",
    "figures.py": "FIGURE = 1",
    "data/__init__.py": "KIND = 'data'",
    "data/text.py": "from . import shards, KIND\ndef read(): return shards.SIZE",
    "data/shards.py": "SIZE = 3\nfrom lab.data import text",
    "models/__init__.py": "",
    "models/base.py": "from ..data.text import read\nclass Family: pass",
    "record/__init__.py": "from lab.record.log import write",
    "record/log.py": "from lab.public import run\ndef write(): pass",
    "unused.py": "def broken(:",
    "not-a-module/x.py": "",
}


@pytest.fixture
def lab(tmp_path):
    root = tmp_path / "lab"
    for name, text in FILES.items():
        write(root / name, text)
    return root


def write(path, text):
    lines = text.strip("\n").split("\n")
    margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(line[margin:] for line in lines) + "\n")


def digest(root, entries=("lab.chain",), neutral=NOTHING):
    return modules_digest(entries, "lab", root, neutral)


def test_imports_are_named_absolutely():
    source = """
import a.b.c, d as e
from a.b import c, value
from . import sibling, value
from .deep.er import x
from .. import up
from ..up import name
from somewhere import *
def f():
    import inner
if typing.TYPE_CHECKING:
    import hidden
else:
    import shown
"""
    exists = {"a.b.c", "top.sub.sibling", "top.up"}.__contains__
    common = {"a.b.c", "d", "a.b", "somewhere", "inner", "shown"}
    assert imported_modules(source, "top.sub.module", False, exists=exists) == common | {
        *("top.sub.sibling", "top.sub", "top.sub.deep.er", "top.up"),
    }
    with pytest.raises(ImportError, match="leaves the top package"):
        imported_modules(source, "top", True, exists=exists)
    assert imported_modules("from . import x\nfrom .. import y", "top.sub", True) == {"top.sub", "top"}


def test_closure_follows_imports_and_not_the_packages_above(lab):
    found = module_closure(["lab.chain"], "lab", lab, NOTHING)
    assert found == (
        *("lab.chain", "lab.data", "lab.data.shards", "lab.data.text", "lab.figures", "lab.lazy"),
        *("lab.models.base", "lab.public", "lab.record.log"),
    )
    assert module_closure(["lab"], "lab", lab, NOTHING) == ("lab", "lab.public")


def test_neutral_modules_are_neither_counted_nor_entered(lab):
    neutral = Neutral.parse({"lab.record.*": "shows", "lab.chain:show": "draws", "lab.data.shards": "files"})
    found = module_closure(["lab.chain"], "lab", lab, neutral)
    assert found == ("lab.chain", "lab.data", "lab.data.text", "lab.lazy", "lab.models.base")
    before = digest(lab, neutral=neutral)
    write(lab / "record/log.py", "def write(): return 1")
    write(lab / "data/shards.py", "SIZE = 4")
    write(lab / "chain.py", FILES["chain.py"].replace("print(figures)", "figures.FIGURE()"))
    assert digest(lab, neutral=neutral) == before
    assert digest(lab) != before


def test_entries_may_be_whole_packages(lab):
    assert module_closure(["lab.models.*"], "lab", lab, NOTHING) == (
        *("lab.data", "lab.data.shards", "lab.data.text", "lab.models", "lab.models.base"),
    )
    neutral = Neutral({"lab.data.*": "another matter"})
    assert module_closure(["lab.models.*"], "lab", lab, neutral) == ("lab.models", "lab.models.base")
    with pytest.raises(LookupError, match=r"no module lab\.absent"):
        module_closure(["lab.chain", "lab.absent"], "lab", lab, NOTHING)


@pytest.mark.parametrize(
    ("file", "old", "new", "is_equal"),
    [
        ("chain.py", "def go", "# what it does\n        def go", True),
        ("data/text.py", "return shards.SIZE", "print('x'); return shards.SIZE", True),
        ("unused.py", "broken", "more", True),
        ("record/__init__.py", "from", "import lab.unused\nfrom", True),
        ("data/shards.py", "3", "4", False),
        ("models/base.py", "pass", "size = 3", False),
        ("figures.py", "1", "2", False),
        ("lazy.py", "from .data import shards", "from .data import text", False),
    ],
)
def test_an_edit_counts_where_the_code_is_reached(lab, file, old, new, is_equal):
    before = digest(lab)
    assert old in FILES[file]
    write(lab / file, FILES[file].replace(old, new, 1))
    assert (digest(lab) == before) is is_equal


def test_the_digest_depends_neither_on_the_folder_nor_on_the_name_of_the_package(lab, tmp_path):
    before = digest(lab)
    moved = tmp_path / "elsewhere" / "laboratory"
    moved.parent.mkdir()
    lab.rename(moved)
    assert digest(moved) == before
    # A module that moves within the package is another: relative names say what is what.
    (moved / "figures.py").rename(moved / "drawings.py")
    write(moved / "chain.py", FILES["chain.py"].replace("from lab import figures", "from lab import drawings"))
    assert digest(moved) != before


def test_names_of_modules_count_below_the_package_only(tmp_path):
    write(tmp_path / "one.py", "from .two import x")
    write(tmp_path / "two.py", "x = 1")
    before = modules_digest(["lab.one"], "lab", tmp_path, NOTHING)
    assert modules_digest(["laboratory.one"], "laboratory", tmp_path, NOTHING) == before
    (tmp_path / "one.py").rename(tmp_path / "onf.py")
    assert modules_digest(["lab.onf"], "lab", tmp_path, NOTHING) != before


def test_code_that_two_modules_exchange_counts(lab):
    write(lab / "one.py", "X = 1")
    write(lab / "two.py", "X = 2")
    before = digest(lab, ["lab.one", "lab.two"])
    write(lab / "one.py", "X = 2")
    write(lab / "two.py", "X = 1")
    assert digest(lab, ["lab.one", "lab.two"]) != before


def test_a_file_is_read_once_as_long_as_it_stays(lab, monkeypatch):
    read = []
    usual = modules.read_code
    monkeypatch.setattr(
        modules, "read_code", lambda source, **rest: read.append(rest["filename"]) or usual(source, **rest)
    )
    before = digest(lab)
    assert len(read) == 9
    assert digest(lab) == before
    assert len(read) == 9
    write(lab / "figures.py", "FIGURE = 2")
    os.utime(lab / "figures.py", ns=(1, 1))
    assert digest(lab) != before
    assert read[9:] == [str(lab / "figures.py")]


def test_a_mistake_in_a_reached_file_names_the_file(lab):
    write(lab / "figures.py", "def broken(:")
    with pytest.raises(SyntaxError) as raised:
        digest(lab)
    assert raised.value.filename == str(lab / "figures.py")


def test_a_neutral_function_that_no_longer_exists_is_an_error(lab):
    with pytest.raises(LookupError, match=r"chain\.py defines no absent"):
        digest(lab, neutral=Neutral({}, {"lab.chain:absent": "gone"}))


def test_the_modules_of_a_package_are_its_files(lab):
    assert "lab.data.text" in module_files("lab", lab)
    assert module_files("lab", lab)["lab.data"].is_package
    assert not [name for name in module_files("lab", lab) if "not-a-module" in name]


def test_the_closure_of_the_real_package_is_what_importing_it_loads():
    # Apart from the packages above, whose `__init__` Python loads as well.
    entry = "modelcollapse.chain"
    code = f"import {entry}, sys; print(*[n for n in sys.modules if n.startswith('modelcollapse.')])"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    files = module_files("modelcollapse", HOUSE)
    above = {name for name in loaded if files[name].is_package}
    initial = {name for name in above for name in module_closure([name], "modelcollapse", HOUSE, NOTHING)}
    closure = set(module_closure([entry], "modelcollapse", HOUSE, NOTHING))
    of_root = set(module_closure(["modelcollapse"], "modelcollapse", HOUSE, NOTHING))
    assert len(loaded) > 10
    assert loaded <= closure | initial | of_root
    assert len(closure) > 20


def test_no_module_of_a_whole_family_is_read_twice():
    read = []
    watching = True
    sys.addaudithook(lambda event, given: read.append(str(given[0])) if watching and event == "open" else None)
    modules._known.clear()
    closure = module_closure(["modelcollapse.*"], "modelcollapse", HOUSE, NOTHING)
    again = module_closure(["modelcollapse.*"], "modelcollapse", HOUSE, NOTHING)
    watching = False
    sources = [path for path in read if path.endswith(".py")]
    assert len(sources) == len(set(sources)) >= len(closure) > 100
    assert again == closure


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"lab.x": ""}, r"'lab\.x' has no reason"),
        ({"lab..x": "y"}, r"'lab\.\.x' is neither package\.module nor"),
        ({"lab.*.x": "y"}, r"'lab\.\*\.x' is neither"),
        ({"lab.x:": "y"}, r"'lab\.x:' is neither package\.module:function"),
        ({"lab.x:f()": "y"}, r"is neither package\.module:function"),
    ],
)
def test_neutral_names_are_checked(entries, message):
    with pytest.raises(ValueError, match=message):
        Neutral.parse(entries)


def test_neutral_names():
    neutral = Neutral.parse({"lab.record.*": "a", "lab.x": "b", "lab.y:f": "c", "lab.y:C.m": "d"})
    assert [
        name
        for name in ("lab.record", "lab.record.log", "lab.recorder", "lab.x", "lab.x.y")
        if neutral.has_module(name)
    ] == [
        *("lab.record", "lab.record.log", "lab.x"),
    ]
    assert neutral.functions_of("lab.y") == {"f", "C.m"}
    assert neutral.functions_of("lab.x") == frozenset()
