"""Text files are UTF-8 whatever the locale says: every text file that the package opens names its encoding."""

import ast

import pytest

from conftest import ROOT

SOURCES = sorted((ROOT / "src").rglob("*.py"))
TEXT_METHODS = {"read_text": 0, "write_text": 1}
"""Methods that read or write text, and the position of their encoding."""


def openings_without_encoding(text):
    """Lines of calls that open a text file in the locale's encoding."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and not names_encoding(node):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            is_method = name in TEXT_METHODS and len(node.args) <= TEXT_METHODS[name]
            if is_method or (name in ("open", "fdopen", "NamedTemporaryFile", "TemporaryFile") and opens_text(node)):
                yield node.lineno


def names_encoding(call):
    return any(keyword.arg in ("encoding", None) for keyword in call.keywords)


def opens_text(call):
    """Whether what is opened is text: what classes open, URLs, file descriptors and gzip's default are not."""
    owner = getattr(getattr(call.func, "value", None), "id", "")
    if (
        owner
        and call.func.attr == "open"
        and (owner[:1].isupper() or owner in ("os", "urllib", "webbrowser", "archive"))
    ):
        return False
    if owner == "gzip":
        return any(isinstance(mode, ast.Constant) and "t" in str(mode.value) for mode in call.args[1:2])
    modes = [keyword.value for keyword in call.keywords if keyword.arg == "mode"] + call.args[:2]
    if getattr(call.func, "attr", "").endswith("TemporaryFile") and not modes:
        return False
    return not any(isinstance(mode, ast.Constant) and "b" in str(mode.value) for mode in modes)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("p.read_text()", [1]),
        ("p.read_text('utf-8'); p.write_text(x, 'utf-8'); p.write_text(x, encoding='utf-8')", []),
        ("p.write_text(x)", [1]),
        ("\nopen(p)", [2]),
        ("p.open('rb'); p.open(mode='wb'); open(p, 'ab'); os.open(p, 0); Image.open(p)", []),
        ("p.open('w'); p.open(); os.fdopen(3)", [1, 1, 1]),
        ("p.open('w', encoding='utf-8')", []),
        ("TemporaryFile('w+')", [1]),
    ],
)
def test_openings_are_found(text, lines):
    assert list(openings_without_encoding(text)) == lines


def test_no_text_file_is_opened_in_the_encoding_of_the_locale():
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in SOURCES
        for line in openings_without_encoding(path.read_text("utf-8"))
    ]
    assert not found, found
