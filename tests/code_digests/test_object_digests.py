import importlib
import importlib.util
import json
import linecache
import sys
import types
from textwrap import dedent

import pytest
from other_pythons import interpreters, run_python

from modelcollapse.code_digests.neutral import Neutral
from modelcollapse.code_digests.objects import object_digest
from modelcollapse.code_digests.references import References
from modelcollapse.code_digests.sources import SourceUnavailable
from modelcollapse.code_digests.syntax import read_code

HOUSE = {
    "fakehouse/__init__.py": """
        from fakehouse.registry import register_scorer as scorer, KNOWN

        def __getattr__(name):
            import importlib
            if name not in ("repetition_rate", "PROVIDED"):
                raise AttributeError(name)
            return getattr(importlib.import_module("fakehouse.metrics"), name)
    """,
    "fakehouse/registry.py": """
        KNOWN = {}
        def register_scorer(name):
            def keep(registered):
                KNOWN[name] = registered
                return registered
            return keep
    """,
    "fakehouse/metrics.py": """
        from fakehouse.logs import report
        from fakehouse.registry import register_scorer
        LENGTH = 3
        PROVIDED = object()
        @register_scorer("rate")
        def repetition_rate(text: "Text"):
            report(text)
            return _grams(text, LENGTH)
        def _grams(text, n: "Count"):
            return len(text) / n
        def unused():
            return 2
    """,
    "fakehouse/logs.py": "def report(text): pass",
    "fakehouse/families.py": """
        class Family:
            def fit(self): return self.step()
            def shown(self): return 1
    """,
}
SCRIPT = {
    "script.py": '''
        """A script."""
        import random
        import fakehouse as house
        import tools.deep
        from fakehouse.families import Family
        from helpers import half as one_half, Settings
        from statistics import mean
        import tools.shapes as shapes

        SCALE = 2.0
        TABLE = {}
        TABLE["a"] = 4
        ORDER = [1, 2]
        random.shuffle(ORDER)
        NOT_USED = 1

        class Base(Family):
            def scale(self):
                return SCALE

        class Child(Base):
            def run(self):
                return self.scale() + shapes.area(2)

        @house.scorer("mine")
        def score(text, settings: Settings = None):
            """What it measures."""
            from late import lately
            held = [SCALED for SCALED in text]
            print(held)
            return one_half(house.repetition_rate(text)) + TABLE["a"] + Child().run() + mean(ORDER) + lately()

        def SCALED():
            return NOT_USED

        def unrelated():
            return SCALE + NOT_USED

        class Unrelated:
            held = TABLE

        house.KNOWN.update(table=TABLE, score=score)
        print("a script speaks")
        if __name__ == "__main__":
            SCALE_OF_MAIN = 3
            house.KNOWN["x"] = unrelated
    ''',
    "helpers.py": """
        from tools.deep import DEPTH
        def half(x): return x / _two()
        def _two(): return 2
        def unused(): return DEPTH
        class Settings:
            length: int = 3
    """,
    "late.py": "def lately(): return 0",
    "tools/__init__.py": "STARTED = 1",
    "tools/deep.py": "DEPTH = 1",
    "tools/shapes.py": """
        from .numbers import *
        def area(r): return r * r * PI
        def unused(): return E
    """,
    "tools/numbers.py": "PI = 3.1\nE = 2.7",
}


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).strip("\n") + "\n", encoding="utf-8")


@pytest.fixture
def house(tmp_path, monkeypatch):
    folder = tmp_path / "house"
    write(folder, HOUSE)
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    forget(folder)


def forget(folder):
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or ""
        if file.startswith(str(folder)) or name.partition(".")[0] == "fakehouse":
            del sys.modules[name]
    importlib.invalidate_caches()


def digest(folder, name="score", *, script="script.py", module="script", neutral=None):
    """The digest of what a script defines, imported under a name as from its own folder."""
    forget(folder)
    sys.path.insert(0, str(folder))
    try:
        specification = importlib.util.spec_from_file_location(module, folder / script)
        sys.modules[module] = loaded = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(loaded)
        options = {} if neutral is None else {"neutral": neutral}
        return object_digest(getattr(loaded, name), house="fakehouse", **options)
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop(module, None)
        forget(folder)


def edited(files, file, old, new):
    text = dedent(files[file])
    assert text.count(old) >= 1, (file, old)
    return {**files, file: text.replace(old, new, 1)}


EDITS_THAT_COUNT = {
    "its own code": ("script.py", 'TABLE["a"] +', 'TABLE["b"] +'),
    "its default": ("script.py", "= None", "= 1"),
    "item of a constant": ("script.py", 'TABLE["a"] = 4', 'TABLE["a"] = 5'),
    "constant": ("script.py", "TABLE = {}", "TABLE = {1: 2}"),
    "call that changes a constant": ("script.py", "random.shuffle(ORDER)", "random.shuffle(ORDER); ORDER.sort()"),
    "method of a class": ("script.py", "self.scale() +", "self.scale() -"),
    "base class": ("script.py", "return SCALE", "return SCALE * 2"),
    "constant of a base class": ("script.py", "SCALE = 2.0", "SCALE = 2.5"),
    "helper": ("helpers.py", "x / _two()", "x * _two()"),
    "helper of a helper": ("helpers.py", "return 2", "return 3"),
    "class that an annotation names": ("helpers.py", "= 3", "= 4"),
    "import inside a function": ("late.py", "return 0", "return 1"),
    "attribute of a module": ("tools/shapes.py", "r * r *", "r *"),
    "constant from all of a module": ("tools/numbers.py", "3.1", "3.14"),
    "library function": ("script.py", "import mean", "import median as mean"),
    "another helper by the same name": ("script.py", "import half as one_half", "import unused as one_half"),
}


@pytest.fixture
def scripts(house, tmp_path):
    folder = tmp_path / "scripts"
    write(folder, SCRIPT)
    return folder


@pytest.mark.parametrize("case", EDITS_THAT_COUNT)
def test_an_edit_of_what_the_object_refers_to_counts(case, scripts):
    before = digest(scripts)
    write(scripts, edited(SCRIPT, *EDITS_THAT_COUNT[case]))
    assert digest(scripts) != before
    write(scripts, SCRIPT)
    assert digest(scripts) == before


EDITS_THAT_DO_NOT = {
    "comment": ("script.py", "SCALE = 2.0", "# how much\nSCALE = 2.0"),
    "docstring": ("script.py", "What it measures.", "What it is."),
    "log": ("script.py", "print(held)", "print(held, text)"),
    "unrelated function": ("script.py", "SCALE + NOT_USED", "SCALE - NOT_USED"),
    "unrelated class": ("script.py", "held = TABLE", "held = SCALE"),
    "unrelated constant": ("script.py", "NOT_USED = 1", "NOT_USED = 2"),
    "name that a local hides": ("script.py", "return NOT_USED", "return 5"),
    "unrelated import": ("script.py", "import random", "import os, random"),
    "registration": ("script.py", 'scorer("mine")', 'scorer("yours")'),
    "registration by a call": ("script.py", "table=TABLE", "table=TABLE, scale=SCALE"),
    "what only runs as a script": ("script.py", "SCALE_OF_MAIN = 3", "SCALE_OF_MAIN = TABLE = 4"),
    "unused helper": ("helpers.py", "return DEPTH", "return DEPTH + 1"),
    "unused module": ("tools/deep.py", "1", "2"),
    "package above": ("tools/__init__.py", "1", "2"),
    "unused constant of a module": ("tools/numbers.py", "2.7", "2.71"),
    "order of definitions": ("script.py", "SCALE = 2.0\nTABLE = {}", "TABLE = {}\nSCALE = 2.0"),
}


@pytest.mark.parametrize("case", EDITS_THAT_DO_NOT)
def test_an_edit_of_anything_else_does_not_count(case, scripts):
    before = digest(scripts)
    write(scripts, edited(SCRIPT, *EDITS_THAT_DO_NOT[case]))
    assert digest(scripts) == before


HOUSE_EDITS = {
    "function that is called": ("fakehouse/metrics.py", "_grams(text, LENGTH)", "_grams(text, 1)", False),
    "its helper": ("fakehouse/metrics.py", "/ n", "* n", False),
    "its constant": ("fakehouse/metrics.py", "LENGTH = 3", "LENGTH = 4", False),
    "base class": ("fakehouse/families.py", "self.step()", "self.step(1)", False),
    "function that it calls": ("fakehouse/logs.py", "pass", "return 1", False),
    "annotation": ("fakehouse/metrics.py", 'n: "Count"', "n: float", True),
    "unused function": ("fakehouse/metrics.py", "return 2", "return 3", True),
    "registry": ("fakehouse/registry.py", "return registered", "return (registered)  # as it came\n    pass", True),
    "code of the registry": ("fakehouse/registry.py", "KNOWN = {}", "KNOWN = dict()", True),
    "provision on demand": ("fakehouse/__init__.py", "import importlib", "import importlib, os", True),
}


@pytest.mark.parametrize("case", HOUSE_EDITS)
def test_house_code_counts_by_what_is_called(case, scripts, house):
    before = digest(scripts)
    file, old, new, is_equal = HOUSE_EDITS[case]
    write(house, edited(HOUSE, file, old, new))
    assert (digest(scripts) == before) is is_equal


def test_neutral_house_code_does_not_count(scripts, house):
    neutral = Neutral.parse({"fakehouse.logs": "logs", "fakehouse.families:Family.shown": "shows"})
    before = digest(scripts, neutral=neutral)
    assert before != digest(scripts)
    write(house, edited(HOUSE, "fakehouse/logs.py", "pass", "return 1"))
    write(house, edited(HOUSE, "fakehouse/families.py", "return 1", "return 2"))
    assert digest(scripts, neutral=neutral) == before
    write(house, edited(HOUSE, "fakehouse/families.py", "self.step()", "self.step(1)"))
    assert digest(scripts, neutral=neutral) != before
    write(house, HOUSE)
    neutral = Neutral.parse({"fakehouse.logs:report": "logs"})
    before = digest(scripts, neutral=neutral)
    write(house, edited(HOUSE, "fakehouse/logs.py", "pass", "return 1"))
    assert digest(scripts, neutral=neutral) == before


def test_a_house_module_may_move(scripts, house):
    """The names of modules do not count where a script says the same."""
    before = digest(scripts)
    text = dedent(HOUSE["fakehouse/metrics.py"])
    write(house, {"fakehouse/measures/rates.py": text, "fakehouse/measures/__init__.py": ""})
    (house / "fakehouse/metrics.py").unlink()
    write(house, edited(HOUSE, "fakehouse/__init__.py", '"fakehouse.metrics"', '"fakehouse.measures.rates"'))
    assert digest(scripts) == before


def test_neither_the_name_of_the_module_nor_its_folder_counts(scripts, tmp_path):
    before = digest(scripts)
    assert digest(scripts, module="modelcollapse_script") == before
    moved = tmp_path / "some" / "where"
    moved.parent.mkdir()
    scripts.rename(moved)
    (moved / "script.py").rename(moved / "renamed.py")
    assert digest(moved, script="renamed.py", module="renamed") == before


AS_MAIN = """
import json
script, house = sys.argv[1:]
sys.path[:0] = [house, script.rpartition("/")[0]]
from modelcollapse.code_digests.objects import object_digest
import script as imported
found = [object_digest(imported.score, house="fakehouse")]
sys.modules["__main__"].__file__ = script
exec(compile(open(script).read(), script, "exec"), sys.modules["__main__"].__dict__)
import __main__
assert __main__.score.__module__ == "__main__" and __main__.SCALE_OF_MAIN == 3
found.append(object_digest(__main__.score, house="fakehouse"))
print(json.dumps(found))
"""


def test_main_and_every_python_give_one_digest(scripts, house):
    found = {digest(scripts)}
    for python in interpreters():
        lines = run_python(python, AS_MAIN, scripts / "script.py", house).splitlines()
        found.update(json.loads(lines[-1]))
    assert len(found) == 1


def test_a_package_counts_through_all_its_modules_however_it_was_found(house, tmp_path):
    files = {
        "acme/__init__.py": "",
        "acme/scorers/__init__.py": "from .. import base\nfrom acme_tools import tool",
        "acme/scorers/mine.py": "from ..base import start\nfrom acme_tools import tool\n"
        "from outsider import guest\ndef score(): return start() + tool() + guest()",
        "acme/base.py": "def start(): return 1",
        "acme_tools.py": "def tool(): return 2",
        "outsider.py": "def guest(): return 3",
        "acme-1.0.dist-info/RECORD": "acme/base.py,sha256=x,1\nacme/scorers/mine.py,,\nacme_tools.py,,\n"
        "acme-1.0.dist-info/RECORD,,",
        "outsider-1.0.dist-info/RECORD": "outsider.py,,",
    }
    editable, installed = tmp_path / "project" / "src", tmp_path / "venv" / "site-packages"

    def of(folder):
        return digest(folder, script="acme/scorers/mine.py", module="acme.scorers.mine")

    for folder in (editable, installed):
        write(folder, files)
    before = of(editable), of(installed)
    for file, old, new in (("acme/base.py", "1", "11"), ("acme_tools.py", "2", "22")):
        for folder in (editable, installed):
            write(folder, edited(files, file, old, new))
        assert of(editable) != before[0]
        assert of(installed) != before[1]
        for folder in (editable, installed):
            write(folder, files)
    # Beside an installed package lie libraries; beside the sources of one, what belongs to it.
    for folder in (editable, installed):
        write(folder, edited(files, "outsider.py", "3", "33"))
    assert of(editable) != before[0]
    assert of(installed) == before[1]


def variants(folder, text, *names):
    """The digests of what one script defines under several names."""
    write(folder, {"script.py": text})
    return [digest(folder, name) for name in names]


def test_what_closures_partials_and_objects_hold_counts(house, tmp_path):
    names = ("first", "other", "held", "partly", "again", "by_place", "by_name", "method", "one", "two", "state")
    found = variants(
        tmp_path / "scripts",
        """
        from functools import partial, lru_cache
        def make(k):
            def inner(x):
                return x * k
            return inner
        first, other = make(1), make(2)
        held = make(first)
        def f(a, b): return a
        partly, again = partial(f, 1, 1), partial(f, 1)
        by_place, by_name = partial(f, "a", 1), partial(f, a=1)
        class C:
            def __init__(self, k): self.k = k
            def __call__(self, x): return self.k
        method, one, two = C(1).__call__, C(1), C(2)
        @lru_cache
        def state(x): return x
        """,
        *names,
    )
    assert len(set(found)) == len(names)


def test_the_same_objects_hold_the_same(house, tmp_path):
    text = """
        from functools import partial, wraps
        def twice(f):
            @wraps(f)
            def both(x): return f(f(x)) * SCALE
            return both
        SCALE = 3
        @twice
        def score(x): return x + 1
        rules = [lambda x, k=k: x * k for k in range(2)]
        first, second = rules
        class C:
            k = 3
            def __call__(self, x): return self.k
        held = C()
        part = partial(score, y={"a": [1, 2.5, None]})
    """
    names = ("score", "first", "second", "held", "part")
    before = variants(tmp_path / "scripts", text, *names)
    assert before == variants(tmp_path / "scripts", "\n        # moved down\n" + text, *names)
    assert len(set(before)) == 5
    after = variants(tmp_path / "scripts", text.replace("SCALE = 3", "SCALE = 4"), *names)
    assert [old == new for old, new in zip(before, after, strict=True)] == [False, True, True, True, False]
    after = variants(tmp_path / "scripts", text.replace("x * k", "x + k"), *names)
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False, False, True, True]


def test_definitions_in_blocks_are_found(house, tmp_path):
    text = """
        try:
            import absent_library
        except ImportError:
            def score(): return 1
        if True:
            class Held:
                def f(self): return 2
        registered = []
        if __name__ == "script":
            def guarded(): return 3
            class Guarded:
                k = 4
    """
    names = ("score", "Held", "guarded", "Guarded")
    before = variants(tmp_path / "scripts", text, *names)
    for place, (old, new) in enumerate((("1", "11"), ("2", "22"), ("3", "33"), ("4", "44"))):
        after = variants(tmp_path / "scripts", text.replace(f"{old}\n", f"{new}\n"), *names)
        assert [a != b for a, b in zip(before, after, strict=True)] == [other == place for other in range(4)]


@pytest.mark.parametrize(
    ("body", "counts"),
    [
        ("def score(): return OTHER", True),
        ("def score(x=OTHER): return x", True),
        ("def score():\n    def inner(): return OTHER\n    return inner", True),
        ("def score():\n    global OTHER\n    OTHER = 3", True),
        ("class score:\n    OTHER = OTHER", True),
        ("class score:\n    OTHER = 1\n    def f(self): return OTHER", True),
        ("score = lambda: [x for x in y if x > OTHER]", True),
        ("score = lambda: [OTHER for y in OTHER for OTHER in y]", True),
        ("def score(a):\n    match a:\n        case OTHER.x: return 1", True),
        ("def score(a):\n    return f'{a:{OTHER}}'", True),
        ("@OTHER\ndef score(): return 1", True),
        ("class score(metaclass=OTHER): pass", True),
        ("def score():\n    OTHER.x = 3", True),
        ("def score(a): return a.OTHER", False),
        ("def score(a): return f(OTHER=a)", False),
        ("def score(OTHER): return OTHER", False),
        ("def score(*OTHER): return OTHER", False),
        ("def score():\n    OTHER = 1\n    def inner():\n        nonlocal OTHER\n        OTHER += 1", False),
        ("score = lambda y: [OTHER for OTHER in y]", False),
        ("score = lambda OTHER: OTHER", False),
        ("def score(y):\n    [z for z in y if (OTHER := z)]\n    return OTHER", False),
        ("def score():\n    for OTHER in (): pass\n    return OTHER", False),
        ("def score():\n    with a as OTHER: return OTHER", False),
        ("def score():\n    try: pass\n    except E as OTHER: return OTHER", False),
        ("def score(a):\n    match a:\n        case {'k': 1, **OTHER}: return OTHER", False),
        ("def score(a):\n    match a:\n        case [*OTHER]: return OTHER", False),
        ("def score():\n    def OTHER(): return 1\n    return OTHER()", False),
        ("class score:\n    OTHER = 1\n    held = OTHER", False),
        ("class score:\n    OTHER = 1\n    def f(self, x=OTHER): return x", False),
        ("def score():\n    import os as OTHER\n    return OTHER.x", True),
        ("def score():\n    try:\n        import OTHER\n    except E:\n        OTHER = 1\n    return OTHER.x", True),
    ],
)
def test_names_follow_the_scopes_of_python(body, counts):
    found = References.of(read_code(body, annotations=True).tree.body)
    assert ("OTHER" in {chain[0] for chain in found.chains}) is counts


def test_modules_that_import_each_other_and_functions_that_call_each_other(house, tmp_path):
    files = {
        "script.py": "def score(n): return other.back(n) if n else score(1)\nimport other",
        "other.py": "from script import score\nimport script\ndef back(n): return script.score(n - 1) + score(0)",
    }
    write(tmp_path / "scripts", files)
    before = digest(tmp_path / "scripts")
    write(tmp_path / "scripts", edited(files, "other.py", "n - 1", "n - 2"))
    assert digest(tmp_path / "scripts") != before


def test_two_functions_that_change_places_are_noticed(house, tmp_path):
    text = "def a(): return 1\ndef b(): return 2\ndef score(): return first() - second()\n"
    swap = "first, second = a, b", "first, second = b, a"
    assert len({variants(tmp_path / "scripts", text + line, "score")[0] for line in swap}) == 2
    files = {
        "script.py": "from one import f\nfrom two import g\ndef score(): return f() - g()",
        "one.py": "def f(): return h()\ndef h(): return 1",
        "two.py": "def g(): return h()\ndef h(): return 2",
    }
    write(tmp_path / "others", files)
    before = digest(tmp_path / "others")
    write(
        tmp_path / "others", {"one.py": files["one.py"].replace("1", "2"), "two.py": files["two.py"].replace("2", "1")}
    )
    assert digest(tmp_path / "others") != before


def test_a_module_named_itself_counts_whole(house, tmp_path):
    files = {
        "script.py": "import helpers\ndef score(name): return getattr(helpers, name)()",
        "helpers.py": "def a(): return 1\n",
    }
    write(tmp_path / "scripts", files)
    before = digest(tmp_path / "scripts")
    write(tmp_path / "scripts", edited(files, "helpers.py", "1", "2"))
    assert digest(tmp_path / "scripts") != before


def test_a_folder_that_bears_the_name_of_a_library_does_not_hide_it(house, tmp_path):
    text = "import json\ndef score(): return json.dumps(1)"
    before = variants(tmp_path / "scripts", text, "score")
    (tmp_path / "scripts" / "json").mkdir()
    assert variants(tmp_path / "scripts", text, "score") == before


def test_functions_and_classes_of_libraries_count_by_name(house, tmp_path):
    length, joined, other = variants(
        tmp_path / "scripts",
        """
        from functools import partial
        length, joined, other = partial(len), partial("-".join), partial(sum)
        """,
        *("length", "joined", "other"),
    )
    assert len({length, joined, other}) == 3


# Notebooks.


@pytest.fixture
def notebook(house, tmp_path, monkeypatch):
    """Runs cells as a notebook does: in one namespace without a file, their text known to linecache."""
    before = set(linecache.cache)
    module = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    count = iter(range(1000))

    def run(source):
        text = dedent(source).strip("\n") + "\n"
        name = f"/tmp/ipykernel_1/{next(count)}.py"
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        exec(compile(text, name, "exec"), module.__dict__)

    run.namespace = module.__dict__
    run.digest = lambda name="score": object_digest(module.__dict__[name], house="fakehouse")
    yield run
    for name in set(linecache.cache) - before:
        del linecache.cache[name]
    forget(tmp_path)


CELLS = (
    "import fakehouse as house\nfrom helpers import half\nimport helpers as h",
    "SCALE = 2",
    "TABLE = {'a': 1}",
    "class Base:\n    def f(self): return SCALE",
    "class Child(Base):\n    k: int = 3",
    "import re\nPATTERN = re.compile('x')",
    """
    @house.scorer("mine")
    def score(x):
        from helpers import late
        return half(x) + TABLE['a'] + Child().f() + house.repetition_rate(x) + h.other() + late() + bool(PATTERN)
    """,
    "unrelated = 1\ndef also(): return 2",
)
NOTEBOOK_FILES = {
    "helpers.py": "def half(x): return x / 2\ndef other(): return 7\ndef late(): return 8\ndef unused(): return 9"
}


@pytest.mark.parametrize(
    ("cell", "counts"),
    [
        ("SCALE = 3", True),
        ("TABLE['a'] = 2", True),
        ("TABLE['a'] = 1", False),
        ("class Base:\n    def f(self): return SCALE * 2", True),
        ("class Child(Base):\n    k: int = 4", True),
        ("PATTERN = re.compile('y')", True),
        ("unrelated = 2\ndef also(): return 3", False),
        ("SCALE = 2", False),
        ("def half(x): return x", True),
        ("# said again\nclass Base:\n    'What it is.'\n    def f(self): return SCALE", False),
    ],
)
def test_cells_count_by_what_the_namespace_holds(notebook, tmp_path, cell, counts):
    write(tmp_path, NOTEBOOK_FILES)
    for each in CELLS:
        notebook(each)
    before = notebook.digest()
    notebook(cell)
    # The class that a name held when a subclass was made stays its base; the name is what is looked up.
    assert (notebook.digest() != before) is counts


@pytest.mark.parametrize(
    ("old", "new", "counts"),
    [("x / 2", "x / 3", True), ("return 7", "return 77", True), ("return 8", "return 88", True), ("9", "99", False)],
)
def test_modules_beside_a_notebook_count(notebook, tmp_path, old, new, counts):
    write(tmp_path, NOTEBOOK_FILES)
    for each in CELLS:
        notebook(each)
    before = notebook.digest()
    write(tmp_path, edited(NOTEBOOK_FILES, "helpers.py", old, new))
    forget(tmp_path)
    assert (notebook.digest() != before) is counts


def test_objects_of_notebooks_without_a_name(notebook):
    notebook("k = 2\nrules = {'a': lambda x: x * k}\nscore = rules['a']")
    before = notebook.digest()
    notebook("k = 3")
    assert notebook.digest() != before
    notebook("k = 2\nother = 5\nrules = {'a': lambda x: x * k}\nscore = rules['a']")
    assert notebook.digest() == before
    notebook("def make(n):\n    def inner(x): return x + n\n    return inner\nscore = make(1)")
    first = notebook.digest()
    notebook("score = make(2)")
    assert notebook.digest() not in (first, before)
    notebook("from functools import lru_cache\n@lru_cache\ndef score(x): return x")
    assert len({notebook.digest(), first, before}) == 3


def test_a_function_that_was_redefined_since_keeps_its_digest(notebook):
    notebook("def score(x): return x")
    old, before = notebook.namespace["score"], notebook.digest()
    notebook("def score(x): return x + 1")
    assert object_digest(old, house="fakehouse") == before != notebook.digest()


def test_an_object_whose_source_is_gone_is_refused(notebook, tmp_path):
    exec("def score(x): return x", notebook.namespace)
    with pytest.raises(SourceUnavailable, match="no source for score: define it in a file"):
        notebook.digest()
    notebook("def outer(x): return score(x)")
    with pytest.raises(SourceUnavailable, match="no source for score"):
        notebook.digest("outer")


def test_a_file_that_no_longer_defines_what_was_imported_is_refused(house, tmp_path, monkeypatch):
    write(tmp_path, {"gone.py": "def score(): return 1"})
    monkeypatch.syspath_prepend(str(tmp_path))
    gone = importlib.import_module("gone")
    write(tmp_path, {"gone.py": "x = 1"})
    with pytest.raises(SourceUnavailable, match=r"gone\.py does not define score: was it changed"):
        object_digest(gone.score, house="fakehouse")
