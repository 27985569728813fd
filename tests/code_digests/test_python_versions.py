import json
from pathlib import Path

import pytest
from other_pythons import SOURCE, interpreters, run_python

TRICKY = Path(__file__).parent / "tricky_syntax.py.txt"
TEXTS = """
import hashlib, json
from pathlib import Path
from modelcollapse.code_digests.modules import modules_digest
from modelcollapse.code_digests.neutral import Neutral
from modelcollapse.code_digests.syntax import canonical_code
folder, tricky = map(Path, sys.argv[1:])
files = [tricky, *sorted(folder.rglob("*.py"))]
digests = {str(path): hashlib.sha256(canonical_code(path.read_text(encoding="utf-8")).encode()).hexdigest()
           for path in files}
digests["all"] = modules_digest(["modelcollapse.*"], "modelcollapse", folder / "modelcollapse", Neutral())
print(json.dumps([digests, canonical_code(tricky.read_text(encoding="utf-8"))]))
"""
HEAVY = {"torch", "numpy", "hydra", "omegaconf", "pandas", "pytorch_lightning", "transformers"}


def test_all_pythons_give_one_text():
    pythons = interpreters()
    if len(pythons) < 2:
        pytest.skip("one supported Python on this machine")
    results = {python: json.loads(run_python(python, TEXTS, SOURCE, TRICKY)) for python in pythons}
    (digests, text), *others = results.values()
    assert len(digests) > 200
    for other_digests, other_text in others:
        assert other_text == text
        assert other_digests == digests


@pytest.mark.parametrize("python", interpreters(), ids=lambda path: path.name)
def test_importing_the_library_imports_the_standard_library_only(python):
    code = """
import importlib, pathlib
for file in pathlib.Path(package.__path__[0], "code_digests").glob("*.py"):
    importlib.import_module("modelcollapse.code_digests." + file.stem)
top = {name.partition(".")[0] for name in sys.modules}
print(sorted(top - sys.stdlib_module_names - {"__main__", "modelcollapse"}))
"""
    # What a site's own start files import stands in every interpreter.
    usual = run_python(python, "print(sorted({n.partition('.')[0] for n in sys.modules}))")
    assert not set(eval(run_python(python, code))) - set(eval(usual))


def test_syntax_that_only_newer_pythons_know():
    newer = [python for python in interpreters() if python.name in ("python3.12", "python3.13")]
    if not newer:
        pytest.skip("no Python 3.12 or 3.13 on this machine")
    code = """
from modelcollapse.code_digests.syntax import canonical_code as text
assert text("type A = int") != text("type A = str")
assert text("def f[T](x): return x") != text("def f[T: int](x): return x") != text("def f(x): return x")
assert text("class C[T, *U, **V]: x: T") != text("class C[T, *U]: x: T")
assert text('''x = f"{a["b"]}"''') == text('''x = f"{a['b']}"''')
"""
    for python in newer:
        run_python(python, code)
