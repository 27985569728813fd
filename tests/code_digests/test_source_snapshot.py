import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from modelcollapse.code_digests.snapshot import SourceChanged, SourceSnapshot, verify_imported


@pytest.fixture
def lab(tmp_path):
    root = tmp_path / "lab"
    (root / "sub").mkdir(parents=True)
    for name in ("__init__.py", "one.py", "sub/__init__.py", "sub/two.py"):
        (root / name).write_text(f"NAME = {name!r}\n")
    return root


def imported(root, *names):
    found = {}
    for name in names:
        path = root.parent.joinpath(*name.split("."))
        found[name] = types.ModuleType(name)
        found[name].__file__ = str(path / "__init__.py" if path.is_dir() else path.with_suffix(".py"))
    return {"os": sys, **found}


def test_a_snapshot_holds_all_modules_and_goes_through_json(lab):
    snapshot = SourceSnapshot.take("lab", lab)
    assert list(snapshot.files) == ["lab", "lab.one", "lab.sub", "lab.sub.two"]
    assert SourceSnapshot.from_json(snapshot.to_json()) == snapshot
    with pytest.raises(ValueError, match="not a snapshot"):
        SourceSnapshot.from_json("{}")


def test_what_was_imported_unchanged_passes(lab):
    verify_imported(SourceSnapshot.take("lab", lab), imported(lab, "lab", "lab.one", "lab.sub.two"))


@pytest.mark.parametrize("text", ["NAME = 'another'\n", "NAME = 'one.py'\n# a comment\n"])
def test_a_changed_file_is_noticed_when_it_is_imported(lab, text):
    snapshot = SourceSnapshot.from_json(SourceSnapshot.take("lab", lab).to_json())
    (lab / "one.py").write_text(text)
    verify_imported(snapshot, imported(lab, "lab", "lab.sub"))
    with pytest.raises(SourceChanged, match=r"lab\.one \(.*one\.py\)") as raised:
        verify_imported(snapshot, imported(lab, "lab", "lab.sub", "lab.one"))
    assert "lab.sub" not in str(raised.value)
    # It is not taken for verified now.
    with pytest.raises(SourceChanged):
        verify_imported(snapshot, imported(lab, "lab", "lab.one"))


def test_an_edit_after_the_import_was_verified_is_another_matter(lab, monkeypatch):
    snapshot = SourceSnapshot.take("lab", lab)
    verify_imported(snapshot, imported(lab, "lab.one"))
    (lab / "one.py").write_text("NAME = 2")
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} is read again"))
    verify_imported(snapshot, imported(lab, "lab.one"))


def test_added_and_removed_files_are_noticed(lab):
    snapshot = SourceSnapshot.take("lab", lab)
    modules = imported(lab, "lab.one")
    (lab / "one.py").unlink()
    with pytest.raises(SourceChanged, match=r"lab\.one"):
        verify_imported(snapshot, modules)
    (lab / "three.py").write_text("")
    with pytest.raises(SourceChanged, match=r"lab\.three"):
        verify_imported(snapshot, imported(lab, "lab.three"))


def test_a_module_that_is_run_counts_under_its_own_name(lab):
    snapshot = SourceSnapshot.take("lab", lab)
    main = imported(lab, "lab.one")["lab.one"]
    main.__spec__ = ModuleSpec("lab.one", None)
    verify_imported(snapshot, {"__main__": main})
    (lab / "one.py").write_text("NAME = 2")
    with pytest.raises(SourceChanged, match=r"lab\.one"):
        verify_imported(SourceSnapshot.from_json(snapshot.to_json()), {"__main__": main})


def test_other_packages_and_modules_without_files_are_not_looked_at(lab):
    snapshot = SourceSnapshot.take("lab", lab)
    modules = {"laboratory": types.ModuleType("laboratory"), "lab.made": types.ModuleType("lab.made"), "lab.none": None}
    modules["laboratory"].__file__ = str(lab / "absent.py")
    verify_imported(snapshot, modules)


def test_the_real_package():
    house = Path(__file__).resolve().parents[2] / "src" / "modelcollapse"
    snapshot = SourceSnapshot.take("modelcollapse", house)
    verify_imported(snapshot)
    assert "modelcollapse.code_digests.snapshot" in snapshot._passed
