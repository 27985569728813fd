import ast
import copy
import itertools
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelcollapse.code_digests.serialization import serialized
from modelcollapse.code_digests.syntax import canonical_code

TRICKY = (Path(__file__).parent / "tricky_syntax.py.txt").read_text(encoding="utf-8")
SOURCE = Path(__file__).resolve().parents[2] / "src"
REAL_FILES = sorted(SOURCE.rglob("*.py"))

BASE = """
    import logging, warnings, sys
    logger = logging.getLogger(__name__)

    @decorator(1)
    def f(a, b=2):
        total = a + b * 3
        return total

    class C(Base):
        size: int = 4

        def method(self, x):
            if x > 1:
                return f(x)
            return self.size
"""


def text(source: str, **options) -> str:
    return canonical_code(dedent(source), **options)


EQUAL = {
    "comment": ("return total", "# why\n        return total  # what"),
    "blank lines": ("return total", "\n\n\n        return (\n            total\n        )"),
    "docstring of the module": ("    import logging", '    """What it is."""\n    import logging'),
    "docstring of a function": ("total = a", '"""What it does."""\n        total = a'),
    "docstring of a class": ("size: int = 4", '"""What it is."""\n        size: int = 4'),
    "docstring of an attribute": ("size: int = 4", 'size: int = 4\n        """How big."""'),
    "pass": ("return total", "pass\n        return total"),
    "number as written": ("b * 3", "b * 0x3"),
    "annotations of a function": ("method(self, x):", "method(self, x: 'Tensor') -> float:"),
    "annotation of a local": ("total = a", "total: float = a"),
    "TYPE_CHECKING": ("    @decorator", "    if TYPE_CHECKING:\n        import torch\n    @decorator"),
    "print": ("return total", "print('total', total, flush=True)\n        return total"),
    "print to the error stream": ("return total", "print(total, file=sys.stderr)\n        return total"),
    "logger": ("return total", "logger.info('%s of %d', a.name, len(b[0]))\n        return total"),
    "own logger": ("return f(x)", "self.logger.debug(f'{x:.2f} {x!r}')\n                return f(x)"),
    "named logger": ("return total", "logging.getLogger(__name__).warning('x')\n        return total"),
    "formatted": ("return total", "logger.info('{} {}'.format(a, round(b, 2)))\n        return total"),
    "warning": ("return total", "warnings.warn('small', UserWarning, stacklevel=2)\n        return total"),
    "condition of logging": ("return total", "if a > b and verbose:\n            print(a)\n        return total"),
}


@pytest.mark.parametrize("case", EQUAL)
def test_what_computes_nothing_changes_nothing(case):
    old, new = EQUAL[case]
    assert old in BASE
    assert text(BASE.replace(old, new, 1)) == text(BASE)


DIFFERENT = {
    "operator": ("b * 3", "b / 3"),
    "constant": ("b * 3", "b * 4"),
    "kind of constant": ("b * 3", "b * 3.0"),
    "name": ("a + b", "a + c"),
    "default": ("b=2", "b=3"),
    "decorator": ("@decorator(1)", "@decorator(2)"),
    "no decorator": ("    @decorator(1)\n", ""),
    "comparison": ("x > 1", "x >= 1"),
    "base": ("C(Base)", "C(Other)"),
    "annotation of a class": ("size: int", "size: float"),
    "import": ("import logging", "import json"),
    "walrus in a log": ("return total", "print(total := 3)\n        return total"),
    "draw in a log": ("return total", "logger.info('%s', random.random())\n        return total"),
    "iterator used up by a log": ("return total", "print(*a)\n        return total"),
    "comprehension in a log": ("return total", "print([x for x in a])\n        return total"),
    "list in a log": ("return total", "print(list(a))\n        return total"),
    "written file": ("return total", "print(total, file=handle)\n        return total"),
    "unknown options": ("return total", "print(total, **options)\n        return total"),
    "metric": ("return f(x)", "self.log('loss', x)\n                return f(x)"),
    "log that is used": ("return total", "return print(total)"),
    "condition that may change something": ("return total", "if next(a):\n            print(a)\n        return total"),
    "raise": ("return total", "if a:\n            raise ValueError\n        return total"),
    "else of TYPE_CHECKING": (
        "    @decorator",
        "    if TYPE_CHECKING:\n        import torch\n    else:\n        torch = None\n    @decorator",
    ),
    "not TYPE_CHECKING": ("    @decorator", "    if not TYPE_CHECKING:\n        import torch\n    @decorator"),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_what_may_compute_changes_the_text(case):
    old, new = DIFFERENT[case]
    assert old in BASE
    assert text(BASE.replace(old, new, 1)) != text(BASE)


def test_an_annotation_that_a_decorator_may_read_counts():
    plain = "@singledispatch\ndef f(x): return x"
    assert text(plain) != text("@singledispatch\ndef f(x: int): return x")
    assert text("@property\ndef f(x): return x") == text("@property\ndef f(x) -> int: return x")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("x = 'a' 'b'", "x = 'ab'"),
        ("x = f'a' f'{b}' 'c' f''", "x = f'a{b}c'"),
        ("x = f'{b:}'", "x = f'{b}'"),
        ("x = f'{b!s:>{w}}'", "x = f'''{b!s:>{w}}'''"),
        ("def f(): 'doc'", "def f(): pass"),
        ("def f(): print(1)", "def f(): ..."),
        ("class C:\n  'doc'", "class C: pass"),
        ("for x in y: pass\nelse: pass", "for x in y: pass"),
        ("\ufeffx = 1\r\ny = 2\r\n", "x = 1\ny = 2"),
        ("x = 1; y = 2", "x = 1\ny = 2"),
        ("x = a, b", "x = (a, b,)"),
    ],
)
def test_equal_code_as_it_may_be_written(first, second):
    assert canonical_code(first) == canonical_code(second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("x = 1", "x = True"),
        ("x = 1", "x = '1'"),
        ("x = b'a'", "x = 'a'"),
        ("x = inf", "x = 1e999"),
        ("x = 'a\\nName b'", "x = 'a'\nb"),
        ("x = f'{a}'", "x = f'{a!r}'"),
        ("x = f'{a}b'", "x = f'{a:b}'"),
        ("f(a, b)", "f(a)\nb"),
        ("f((a, b))", "f(a, b)"),
        ("f(a=b)", "f(**{'a': b})"),
        ("if a:\n  b()\nc()", "if a:\n  b()\n  c()"),
        ("def f():\n  global x, y\n  x = 1", "def f():\n  global x\n  x = 1"),
        ("def f(*, a, b=1): return a", "def f(*, b=1, a): return a"),
        ("def f(*, a, b=1): return a", "def f(*, a=1, b): return a"),
        ("def f(a, /): return a", "def f(a): return a"),
        ("async def f(): return 1", "def f(): return 1"),
        ("import a.b", "import a.b as a"),
        ("from . import a", "from .. import a"),
        ("{**a, b: c}", "{b: c, **a}"),
        ("match x:\n  case None: a()", "match x:\n  case True: a()"),
        ("match x:\n  case {'a': 1, **r}: a()", "match x:\n  case {'a': 1}: a()"),
        ("try: a()\nexcept* E: b()", "try: a()\nexcept E: b()"),
        ("class C:\n  x: int", "class C:\n  x: str"),
        ("class C:\n  (x): int = 1", "class C:\n  x: int = 1"),
        ("def f():\n  x: int\n  return x", "def f():\n  return x"),
    ],
)
def test_different_code_that_looks_alike(first, second):
    assert canonical_code(first) != canonical_code(second)


def _swapped(node: ast.AST, field: str, value: object) -> object | None:
    """Another value for a field of a node, or None where there is none to take."""
    if isinstance(value, ast.operator):
        return ast.Sub() if isinstance(value, ast.Add) else ast.Add()
    if isinstance(value, ast.unaryop):
        return ast.Not() if isinstance(value, ast.USub) else ast.USub()
    if isinstance(value, ast.boolop):
        return ast.Or() if isinstance(value, ast.And) else ast.And()
    if isinstance(value, ast.expr):
        return None if isinstance(value, ast.JoinedStr | ast.FormattedValue) else ast.Name("replaced", ast.Load())
    if isinstance(value, list):
        return value[:-1] if value else None
    if field in ("value",) and isinstance(node, ast.Constant):
        return "replaced" if value != "replaced" else "again"
    if isinstance(node, ast.MatchSingleton):
        return not value
    if isinstance(value, bool | int):
        return value + 1
    if isinstance(value, str):
        return value + "_replaced"
    return None


def _mutations(tree: ast.Module):
    for place, node in enumerate(ast.walk(tree)):
        for field in node._fields:
            if field in ("ctx", "kind", "type_comment", "type_ignores"):
                continue
            other = _swapped(node, field, getattr(node, field))
            if other is not None:
                yield place, field, other


def test_every_field_of_every_node_of_tricky_code_counts():
    tree = ast.parse(TRICKY)
    original = serialized(tree)
    mutations = list(_mutations(tree))
    assert len(mutations) > 700
    unnoticed = []
    for place, field, other in mutations:
        node = next(itertools.islice(ast.walk(tree), place, None))
        kept = getattr(node, field)
        setattr(node, field, other)
        if serialized(tree) == original:
            unnoticed.append((type(node).__name__, field, getattr(node, "lineno", None), kept))
        setattr(node, field, kept)
    assert not unnoticed


def test_deleting_any_statement_of_tricky_code_counts():
    tree = ast.parse(TRICKY)
    original = canonical_code(TRICKY)
    for place in range(len(tree.body)):
        shorter = copy.copy(tree)
        shorter.body = tree.body[:place] + tree.body[place + 1 :]
        assert canonical_code(ast.unparse(shorter)) != original, ast.unparse(tree.body[place])


@pytest.mark.parametrize("path", REAL_FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_the_formatting_of_the_real_code_does_not_count(path):
    source = path.read_text(encoding="utf-8")
    assert canonical_code(ast.unparse(ast.parse(source))) == canonical_code(source)


def test_no_two_real_files_that_compute_something_have_one_text():
    texts = {path: canonical_code(path.read_text(encoding="utf-8")) for path in REAL_FILES}
    texts = {path: held for path, held in texts.items() if held.count("\n") > 5}
    assert len(set(texts.values())) == len(texts) > 150


@given(data=st.data())
def test_notes_anywhere_in_real_code_do_not_count(data):
    path = data.draw(st.sampled_from(REAL_FILES))
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bodies = [
        body
        for node in ast.walk(tree)
        for body in [getattr(node, "body", None)]
        if isinstance(body, list) and not isinstance(node, ast.Module)
    ]
    original = canonical_code(ast.unparse(tree))
    note = data.draw(st.sampled_from(["'note'", "print(a, b.c)", "logger.info('%s', x)", "pass", "if a: print(b)"]))
    for body in bodies[:: data.draw(st.integers(1, 5))]:
        # Not first, where it would turn a docstring into a text that stands alone, which counts as little.
        body.insert(data.draw(st.integers(0, len(body))), ast.parse(note).body[0])
    assert canonical_code(ast.unparse(tree)) == original


def test_named_functions_and_classes_are_left_out():
    source = """
        def f(): return 1
        class C:
            def f(self): return 2
            def g(self): return 3
        if condition:
            def h(): return 4
    """
    without_f = text(source, without=("f",))
    assert without_f == text(source.replace("def f(): return 1", ""))
    assert text(source, without=("C.f",)) == text(source.replace("def f(self): return 2", ""))
    assert text(source, without=("C",)) != text(source, without=("C.f", "C.g"))
    assert text(source, without=("h",)) == text(source.replace("def h(): return 4", "pass"))
    with pytest.raises(LookupError, match=r"C\.absent, g"):
        text(source, without=("C.absent", "f", "g"))


def test_deep_trees_are_walked():
    deep = "x = " + " + ".join("a" for _ in range(sys.getrecursionlimit() * 2))
    assert canonical_code(deep).count("Name a") == sys.getrecursionlimit() * 2


def test_code_with_a_mistake_is_refused():
    with pytest.raises(SyntaxError):
        canonical_code("def f(:")


def test_an_invalid_escape_is_no_error_where_warnings_are_errors(recwarn):
    canonical_code("x = '\\d'")
    assert not recwarn.list


def test_the_texts_in_an_f_string_are_one_text_however_a_python_cuts_them():
    def joined(*values):
        return serialized(ast.JoinedStr([ast.Constant(held) if isinstance(held, str) else held for held in values]))

    field = ast.FormattedValue(ast.Name("x", ast.Load()), -1)
    assert joined("a", "", "b", field, "") == joined("ab", field) != joined("a", field, "b")
    assert joined(ast.JoinedStr([ast.Constant("a")]), "b") == joined("ab")
