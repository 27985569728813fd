"""Bundles of somebody who means harm: each gives one message and exit code 2, and nothing is written or started."""

import json
import os
import stat
import struct
import sys
import tempfile
import warnings
import zipfile

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from bundle_files import MANIFEST, altered, archive_of, json_changed, members, with_checksums
from conftest import EXECUTION, run_chain_of
from modelcollapse.code_digests.house import snapshot
from modelcollapse.commands import bundle, replay
from modelcollapse.config.extensions import prepared_configuration
from modelcollapse.record.bundle import open_bundle
from modelcollapse.sweeps.replaying import chains_of

GAUSSIAN = ("experiment=paper_gaussian", "generations=1", "data.rows=20", "model.replicates=2", *EXECUTION)
SETTINGS, GENERATIONS = "runs/0/settings.json", "runs/0/generations.jsonl"


@pytest.fixture(scope="module")
def bundled(tmp_path_factory):
    """A bundle that is as it should be."""
    place = tmp_path_factory.mktemp("bundle")
    folder = place / "run"
    run_chain_of([*GAUSSIAN, f"paths.store={place / 'store'}"], place / "store", folder)
    (folder / "sources.json").write_text(snapshot().to_json())
    assert bundle.main([str(folder), "--output", str(place / "good.zip")]) == 0
    return place / "good.zip"


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Replay a bundle in a folder of its own; the message, after a check that nothing was written or started."""
    there, temporary, marker = tmp_path / "there", tmp_path / "temporary", tmp_path / "ran"
    for folder in (there, temporary):
        folder.mkdir()
    monkeypatch.chdir(there)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))

    def call(path, *arguments):
        before = sorted(tmp_path.rglob("*"))
        capsys.readouterr()
        code = replay.main([str(path), *arguments])
        printed = capsys.readouterr()
        assert code == 2, printed
        assert sorted(tmp_path.rglob("*")) == before
        assert not marker.exists()
        assert "antigravity" not in sys.modules
        assert "Traceback" not in printed.err
        assert printed.err.count("error:") == 1
        assert printed.err.replace("\n", "").isprintable()
        return printed.err

    return call


def test_the_bundle_that_they_are_made_of_is_accepted(bundled, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert replay.main([str(bundled), "--check"]) == 0
    copy = altered(bundled, tmp_path / "copy.zip", "README.md", lambda content: content + b"!")
    assert replay.main([str(copy), "--check"]) == 0


# ---- archives --------------------------------------------------------------------------------------------------------


def entry(name, **fields):
    """An entry of an archive with fields of its own."""
    info = zipfile.ZipInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def added(name, content=b"x", **fields):
    """A bundle with one member more, which its manifest describes too."""

    def make(good):
        described = with_checksums({**good, name: content})
        plain = [(each, value) for each, value in described.items() if each != name]
        return archive_of([*plain, (entry(name, **fields), content)])

    return make


def compressed(good):
    return archive_of(with_checksums({**good, "README.md": b"0" * 10**7}), compression=zipfile.ZIP_DEFLATED)


def twice(good):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return archive_of([*good.items(), ("README.md", b"another")])


def encrypted(good):
    content = bytearray(archive_of(good))
    place = content.rindex(b"PK\x01\x02")
    content[place + 8] |= 1
    return bytes(content)


def larger_than_it_is(good):
    """Every member is said to begin at the same place, so that few bytes are many members."""
    names = [f"artifacts/model/{number:032x}/weights" for number in range(50)]
    content = {**good, **dict.fromkeys(names, b"0" * 10_000)}
    whole = archive_of(with_checksums(content))
    directory = whole.index(b"PK\x01\x02")
    first = whole.index(names[0].encode()) - 30
    entries = bytearray(whole[directory:])
    for name in names:
        place = entries.index(name.encode())
        entries[place - 4 : place] = struct.pack("<L", first)
    end = entries.rindex(b"PK\x05\x06")
    begin = whole.index(names[1].encode()) - 30
    entries[end + 16 : end + 20] = struct.pack("<L", begin)
    return whole[:begin] + bytes(entries)


def endless_directory(good):
    content = bytearray(archive_of(good))
    place = content.rindex(b"PK\x05\x06")
    content[place + 12 : place + 16] = struct.pack("<L", 2**31)
    return bytes(content)


def manifest_of(change):
    """A bundle whose manifest is changed: ``change`` alters its value, or gives another."""
    return lambda good: archive_of({**good, MANIFEST: json_changed(change)(good[MANIFEST])})


def without(name):
    return lambda good: archive_of({each: value for each, value in good.items() if each != name})


def undescribed(good):
    return archive_of({**good, "runs/0/more.md": b"x"})


def altered_member(good):
    return archive_of({**good, GENERATIONS: good[GENERATIONS].replace(b"0", b"1", 1)})


ARTIFACT = f"artifacts/model/{'a' * 32}"
ARCHIVES = {
    "a file beside it": (added("../outside.md"), "is no name that a member of a bundle has"),
    "a file beside it, from within": (added("runs/0/../../../outside.md"), "is no name that a member"),
    "a file beside an artifact": (added(f"{ARTIFACT}/../../../../outside"), "is no name that a member"),
    "a file beside it, as Windows writes": (added(f"{ARTIFACT}/..\\outside"), "is no name that a member"),
    "a file anywhere": (added("/elsewhere/outside.md"), "is no name that a member"),
    "a script": (added("runs/0/sitecustomize.py"), "is no name that a member"),
    "a hidden file": (added("runs/0/.modelcollapse.json"), "is no name that a member"),
    "a name that a terminal obeys": (added(f"{ARTIFACT}/\x1b[2J"), "is no name that a member"),
    "a name that ends early": (added("runs/0/a.md\0.py"), "is no name"),
    "a link": (
        added("runs/0/link.md", b"/etc/passwd", external_attr=(stat.S_IFLNK | 0o777) << 16, create_system=3),
        "is no plain file",
    ),
    "a device": (added("runs/0/null.md", external_attr=(stat.S_IFCHR | 0o666) << 16), "is no plain file"),
    "a bomb": (compressed, "is compressed, as no member of a bundle is"),
    "a bomb whose members overlap": (larger_than_it_is, "larger together than the archive"),
    "a list of members without end": (endless_directory, "more than a bundle has"),
    "a member that is there twice": (twice, "README.md is there twice"),
    "an encrypted member": (encrypted, "is encrypted"),
    "an altered member": (altered_member, f"{GENERATIONS} was altered: it does not match its checksum"),
    "a member that nobody described": (undescribed, "runs/0/more.md is not in manifest.json"),
    "a missing member": (without("README.md"), "README.md is missing"),
    "a missing manifest": (without(MANIFEST), "is no bundle: manifest.json is missing"),
    "missing settings": (
        lambda good: archive_of(with_checksums({name: good[name] for name in good if name != SETTINGS})),
        f"{SETTINGS} is missing",
    ),
    "another version of the format": (manifest_of(lambda value: value.update(format=2)), "has format 2; this version"),
    "a manifest of something else": (manifest_of(lambda value: [1]), "has format None"),
    "a manifest of more": (manifest_of(lambda value: value.update(run="rm")), "and nothing else"),
    "no runs": (manifest_of(lambda value: value.update(runs=[])), "names no runs"),
    "runs of another kind": (manifest_of(lambda value: value.update(runs=[{"title": 1}])), "describes a run otherwise"),
    "a title that a terminal obeys": (
        manifest_of(lambda value: value["runs"][0].update(title="\x1b[2J")),
        "holds characters that are not printed",
    ),
    "members of another kind": (
        manifest_of(lambda value: value["members"].update({SETTINGS: {"bytes": "1", "sha256": 1}})),
        "describes a member otherwise",
    ),
    "a member of another size": (
        manifest_of(lambda value: value["members"][SETTINGS].update(bytes=1)),
        f"{SETTINGS} has another size",
    ),
    "a run that there is not": (added("runs/7/generations.jsonl"), "is of a run that there is not"),
    "a nested manifest": (
        lambda good: archive_of({**good, MANIFEST: b"[" * 100_000 + b"]" * 100_000}),
        "manifest.json is nested deeper than that of any bundle",
    ),
    "a giant number": (
        lambda good: archive_of({**good, MANIFEST: b'{"format": ' + b"1" * 10_000 + b"}"}),
        "manifest.json cannot be read",
    ),
    "no JSON": (lambda good: archive_of({**good, MANIFEST: b"\xff\xfe{"}), "manifest.json cannot be read"),
    "a name that stands twice": (
        lambda good: archive_of({**good, MANIFEST: b'{"format": 1, "format": 1}'}),
        "a name stands in it twice",
    ),
    "half of it": (lambda good: archive_of(good)[: -len(good[MANIFEST])], "is no bundle, which"),
    "an empty file": (lambda good: b"", "is no bundle, which"),
    "a text": (lambda good: b"PK\x05\x06 is how it begins" * 10, "is no bundle, which"),
    "an empty archive": (lambda good: archive_of({}), "manifest.json is missing"),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_hostile_archives(bundled, refused, tmp_path, name):
    make, message = ARCHIVES[name]
    hostile = tmp_path / "hostile.zip"
    hostile.write_bytes(make(members(bundled)))
    assert message in refused(hostile, "--check")


def test_what_is_no_file_is_not_waited_for(refused, tmp_path):
    os.mkfifo(tmp_path / "pipe.zip")
    assert "is no file" in refused(tmp_path / "pipe.zip")
    assert "is no file" in refused(tmp_path)
    assert "there is no such file" in refused(tmp_path / "nowhere.zip")


# ---- what is in members ----------------------------------------------------------------------------------------------


def lines_changed(change):
    """A change of a member of JSON lines: of the first line."""

    def changed(content):
        first, *rest = content.splitlines()
        return b"\n".join([json.dumps(change(json.loads(first))).encode(), *rest]) + b"\n"

    return changed


def deep(value):
    for _ in range(100):
        value = [value]
    return value


def first_manifest(good):
    return next(name for name in good if name.startswith("artifacts/") and name.endswith(MANIFEST))


RECORDS = {
    "a giant number": ("generations.jsonl", lines_changed(lambda line: {**line, "x": 10**400}), "is too large"),
    "text for a number": ("generations.jsonl", lines_changed(lambda line: {**line, "x": "1"}), "is no number"),
    "a generation twice": ("generations.jsonl", lines_changed(lambda line: {**line, "generation": 1}), "each once"),
    "a line of a list": ("generations.jsonl", lines_changed(lambda line: [1]), "is no line of a record"),
    "depth": ("generations.jsonl", lines_changed(lambda line: {**line, "x": deep(1)}), "nested more than 60 deep"),
    "a name of a metric that a terminal obeys": (
        "generations.jsonl",
        lines_changed(lambda line: {**line, "\x1b]0;": 1}),
        "is no name",
    ),
    "a key that is a pattern": (
        "provenance.jsonl",
        lines_changed(lambda line: {**line, "model": "../../*"}),
        "does not hold the keys",
    ),
    "a stage of another kind": ("timings.jsonl", lines_changed(lambda line: {**line, "stage": []}), "names no stage"),
    "versions of another kind": ("chain.json", json_changed(lambda value: value.update(versions=[])), "describe a run"),
    "extensions of another kind": (
        "chain.json",
        json_changed(lambda value: value.update(extensions=[1])),
        "extensions",
    ),
    "metrics of another kind": (
        "metrics.json",
        lambda content: b'{"x": {"artifacts": 1}}',
        "does not describe metrics",
    ),
    "sources of another kind": ("sources.json", lambda content: b'{"files": {"x": 1}}', "checksums of source files"),
}


@pytest.mark.parametrize("name", RECORDS)
def test_hostile_records(bundled, refused, tmp_path, name):
    member, change, message = RECORDS[name]
    assert message in refused(altered(bundled, tmp_path / "hostile.zip", f"runs/0/{member}", change), "--check")


RECIPES = {
    "a recipe of another kind": (lambda fields: fields.update(recipe=[]), "its recipe are not those of an artifact"),
    "a parent that is a pattern": (lambda fields: fields.update(parents={"x": "*"}), "a parent is no key"),
    "a file beside it": (lambda fields: fields["files"].update({"../x": {"bytes": 1, "sha256": ""}}), "was altered"),
    "an altered recipe": (lambda fields: fields["recipe"].update(replicates=3), "was altered"),
    "another format": (lambda fields: fields.update(format=3), "is no manifest of an artifact"),
}


@pytest.mark.parametrize("name", RECIPES)
def test_hostile_recipes(bundled, refused, tmp_path, name):
    change, message = RECIPES[name]
    member = first_manifest(members(bundled))
    assert message in refused(altered(bundled, tmp_path / "hostile.zip", member, json_changed(change)), "--check")


# ---- settings --------------------------------------------------------------------------------------------------------


HOSTILE_SETTINGS = {
    "an object": (lambda values: values.update(x={"_target_": "os.system"}), "settings call no code"),
    "an object within": (lambda values: values["model"].update(_target_="os.system"), "settings call no code"),
    "Hydra's callbacks": (
        lambda values: values.update(hydra={"callbacks": {"x": {"_target_": "os.system"}}}),
        "settings call no code",
    ),
    "Hydra's logging": (
        lambda values: values.update(hydra={"job_logging": {"handlers": {"x": {"()": "os.system"}}}}),
        "settings call no code",
    ),
    "Hydra's folder": (lambda values: values.update(hydra={"run": {"dir": "x"}}), "hydra: no such setting"),
    "a resolver that builds": (
        lambda values: values["model"].update(name="${oc.create:{_target_:os.system}}"),
        "settings are data",
    ),
    "a resolver that decodes": (lambda values: values["data"].update(name="${oc.decode:'1'}"), "settings are data"),
    "a resolver that reads the environment": (
        lambda values: values["data"].update(name="${oc.env:HOME}"),
        "settings read no environment variable",
    ),
    "a resolver whose name is put together": (
        lambda values: values["data"].update(name="${oc.${.x}:HOME}"),
        "a resolver is named as it is",
    ),
    "a reference": (lambda values: values["data"].update(name="${seed}"), "are values, without references"),
    "a path": (lambda values: values["data"].update(name="/etc/passwd"), "a bundle names no files"),
    "a path below the home folder": (lambda values: values["data"].update(name="~/x"), "a bundle names no files"),
    "a path upwards": (lambda values: values["data"].update(name="a/../../x"), "a bundle names no files"),
    "a store": (lambda values: values["paths"].update(store="/elsewhere/store"), "a bundle names no files"),
    "a file of text": (
        lambda values: values.update(
            data={"kind": "text_files", "name": "x", "train": "notes.txt", "validation": "notes.txt"}
        ),
        "data.train",
    ),
    "a giant number": (lambda values: values["data"].update(rows=10**300), "data.rows: "),
    "a number that is none": (lambda values: values["data"].update(rows="1e3"), "data.rows: '1e3' is not allowed"),
    "depth": (lambda values: values.update(x=deep(1)), "is nested more than 60 deep"),
    "no settings": (lambda values: [1], "holds no settings"),
    "a setting that there is not": (lambda values: values.update(command="ls"), "command: no such setting"),
    "a group that is none": (lambda values: values.update(data="gaussian"), "data"),
    "a member that there is not": (lambda values: values["regime"].update(rule="own:Rule"), "regime"),
    "a callback that there is not": (lambda values: values.update(callbacks=["os.system"]), "callbacks"),
    "text that a terminal obeys": (lambda values: values["data"].update(name="\x1b[2J"), "that are not printed"),
    "too many generations": (lambda values: values.update(generations=10**9), "generations: "),
}


@pytest.mark.parametrize("name", HOSTILE_SETTINGS)
def test_hostile_settings(bundled, refused, tmp_path, name):
    change, message = HOSTILE_SETTINGS[name]
    hostile = altered(bundled, tmp_path / "hostile.zip", SETTINGS, json_changed(change))
    assert message in refused(hostile)


def test_a_folder_here_is_not_taken_for_an_id_of_the_hub(bundled, refused, tmp_path):
    def change(values):
        images = {"kind": "images", "name": "x", "path": "notes", "revision": None, "image_column": "x"}
        rows = {"label_column": "x", "train_rows": 9, "validation_rows": 9, "test_rows": 9, "reserve": 0.0}
        with initialize_config_dir(prepared_configuration(), version_base="1.3"):
            vae = OmegaConf.to_container(compose("train", ["model=vae", "data=digits", "decoding=none"]).model)
        values.update(model=vae, data={**images, **rows})

    (tmp_path / "there" / "notes").mkdir()
    hostile = altered(bundled, tmp_path / "hostile.zip", SETTINGS, json_changed(change))
    assert "data.path: 'notes' is not allowed: a bundle names no files; give data.path=PATH" in refused(hostile)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.name=${oc.env:HOME}", "settings read no environment variable"),
        ("model._target_=os.system", "settings call no code"),
        ("seed=1,2", "must be a single value of a setting"),
        ("+x=1", "must be a single value of a setting"),
        ("no.such=1", "no.such: there is no such setting in the bundle"),
        ("seed=[", "(typed: seed=[)"),
    ],
)
def test_hostile_overrides(bundled, refused, override, message):
    assert message in refused(bundled, override)


def test_what_a_bundle_says_of_loggers_and_places_is_left_out(bundled, tmp_path):
    def change(values):
        values["tracking"] = {"kind": "wandb", "mode": "online", "entity": "somebody", "folder": "elsewhere"}
        values["logger"] = ["csv"]
        values["paths"] = {"store": "elsewhere"}
        values["plan"] = True

    hostile = open_bundle(altered(bundled, tmp_path / "hostile.zip", SETTINGS, json_changed(change)))
    (chain,) = chains_of(hostile, (), tmp_path / "store")
    settings = chain.settings
    assert (settings.tracking.kind, settings.tracking.entity, settings.logger) == ("none", None, ())
    assert (settings.plan, settings.paths.store) == (False, str(tmp_path / "store"))
