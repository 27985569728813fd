"""What is taken in from outside: which files of a folder count, and that what is read is what was fingerprinted."""

import hashlib
import os
import shutil
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest
from omegaconf import OmegaConf

from modelcollapse.config.extensions import configuration_folder
from modelcollapse.data import hub, sources
from modelcollapse.data.sources import BadSource, file_digest, files_of, fingerprint, verify_unchanged, view

COMMIT = "0123456789" * 4


@pytest.fixture
def folder(tmp_path):
    """A folder with two files, one in a folder of its own."""
    (tmp_path / "folder" / "sub").mkdir(parents=True)
    (tmp_path / "folder" / "a.json").write_text("1", "utf-8")
    (tmp_path / "folder" / "sub" / "b.txt").write_text("2", "utf-8")
    return tmp_path / "folder"


# ---- which files count ----------------------------------------------------------------------------------------------


def test_hidden_files_and_folders_change_no_fingerprint_and_are_not_read(folder):
    before = fingerprint(folder)
    (folder / ".DS_Store").write_bytes(b"\0")
    (folder / "sub" / ".hidden").write_text("x", "utf-8")
    (folder / ".git" / "objects").mkdir(parents=True)
    (folder / ".git" / "objects" / "ab").write_text("x", "utf-8")
    (folder / ".cache" / "huggingface").mkdir(parents=True)
    (folder / ".cache" / "huggingface" / "a.json.metadata").write_text("now", "utf-8")
    os.mkfifo(folder / ".pipe")
    assert fingerprint(folder) == before
    with view(folder) as root:
        assert sorted(path.name for path in root.rglob("*")) == ["a.json", "b.txt", "sub"]


def test_the_fingerprint_of_a_folder_is_the_one_that_stores_hold(folder):
    """Keys of stores that are in use hold it: it must not change."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in (("a.json", b"1"), ("sub/b.txt", b"2"))}
    listing = "\n".join(f"{name} {digest}" for name, digest in digests.items())
    assert fingerprint(folder) == hashlib.sha256(listing.encode()).hexdigest()


LEADING_OUT = {
    "a file": lambda folder, outside: (folder / "chat_template.jinja").symlink_to(outside / "secret"),
    "a file of the folder above": lambda folder, outside: (folder / "x").symlink_to("../outside/secret"),
    "a folder": lambda folder, outside: (folder / "x").symlink_to(outside),
    "a file below": lambda folder, outside: (folder / "sub" / "x").symlink_to(outside / "secret"),
    "a link to a link": lambda folder, outside: (folder / "x").symlink_to(outside / "link"),
}


@pytest.mark.parametrize("name", LEADING_OUT)
def test_links_that_lead_out_of_a_folder_are_refused(folder, tmp_path, name):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret", "utf-8")
    (outside / "link").symlink_to(outside / "secret")
    LEADING_OUT[name](folder, outside)
    with pytest.raises(BadSource, match="is a link that leads out of its folder"):
        fingerprint(folder)


def test_links_inside_a_folder_are_the_files_that_they_lead_to(folder):
    (folder / "link.txt").symlink_to("sub/b.txt")
    assert files_of(folder)["link.txt"] == folder / "sub" / "b.txt"
    copy = shutil.copytree(folder, folder.parent / "copy")
    assert fingerprint(copy) == fingerprint(folder)
    elsewhere = folder.parent / "a link to the folder"
    elsewhere.symlink_to(folder)
    assert fingerprint(elsewhere) == fingerprint(folder)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: (folder / "x").symlink_to("nothing"), "there is no such file"),
        (lambda folder: (folder / "x").symlink_to("sub"), "is a link to a folder"),
        (lambda folder: (folder / "x").symlink_to("x"), "is a link"),
        (lambda folder: os.mkfifo(folder / "x"), "is a named pipe; it must be a file"),
        (lambda folder: os.mkfifo(folder / "sub" / "x"), "is a named pipe; it must be a file"),
    ],
    ids=["to nothing", "to a folder", "to itself", "a pipe", "a pipe below"],
)
def test_what_is_no_file_is_refused_by_name(folder, spoil, reason):
    spoil(folder)
    with pytest.raises(BadSource, match=reason):
        fingerprint(folder)


def test_a_tree_is_refused(folder, monkeypatch):
    monkeypatch.setattr(sources, "MOST_FILES", 20)
    for number in range(19):
        (folder / f"{number}").touch()
    with pytest.raises(BadSource, match="holds more than 20 files; it must be the folder of one model or data set"):
        fingerprint(folder)


def test_names_that_are_no_text_are_fingerprinted(folder):
    Path(os.fsdecode(bytes(folder) + b"/\xff\xfe")).write_text("x", "utf-8")
    assert fingerprint(folder)


# ---- what is read is what was fingerprinted -------------------------------------------------------------------------


def test_a_file_is_read_once_while_it_stays_and_again_when_it_changed(folder):
    """Also with its size and time as they were."""
    path, read = folder / "a.json", []

    def content(path):
        read.append(path)
        return sources.file_bytes(path)

    one = file_digest(path, content)
    assert file_digest(path, content) == one
    assert len(read) == 1
    status = path.stat()
    path.write_text("3", "utf-8")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert file_digest(path, content) != one


def test_a_source_that_changed_while_it_was_read_is_named(folder):
    recipe = {"folder": fingerprint(folder), "column": "text"}
    verify_unchanged(recipe, lambda: {"folder": fingerprint(folder)})
    (folder / "a.json").write_text("3", "utf-8")
    with pytest.raises(BadSource, match="folder: a file was changed while it was read, and nothing of it was kept"):
        verify_unchanged(recipe, lambda: {"folder": fingerprint(folder)})


# ---- the hub --------------------------------------------------------------------------------------------------------


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """A repository in the hub's cache as the library keeps it, without a network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "hub" / "models--owner--name"
    (repository / "blobs").mkdir(parents=True)
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    contents = {"config.json": b"{}", "model.safetensors": b"weights"}
    names = {
        "config.json": hashlib.sha1(b"blob 2\0{}").hexdigest(),
        "model.safetensors": hashlib.sha256(b"weights").hexdigest(),
    }
    for name, content in contents.items():
        (repository / "blobs" / names[name]).write_bytes(content)
        (snapshot / name).symlink_to(f"../../blobs/{names[name]}")
    return repository


def test_a_repository_is_read_from_the_hubs_cache(cached):
    with hub.taken_in("owner/name", COMMIT, "model.pretrained") as root:
        assert {path.name: path.read_bytes() for path in root.iterdir()} == {
            "config.json": b"{}",
            "model.safetensors": b"weights",
        }


def test_the_snapshot_may_be_named_as_a_folder(cached):
    assert sorted(files_of(cached / "snapshots" / COMMIT)) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_of_the_hubs_cache_that_was_changed_is_refused(cached, name):
    (cached / "snapshots" / COMMIT / name).resolve().write_bytes(b"planted")
    with (
        pytest.raises(BadSource, match=f"{name}: the hub's cache holds another file than was fetched"),
        hub.taken_in("owner/name", COMMIT, "model.pretrained"),
    ):
        pass


def test_a_hub_that_cannot_be_reached_is_reported_with_what_to_type(cached):
    with (
        pytest.raises(BadSource, match=r"the hub cannot be reached .*; without it, model.pretrained=FOLDER"),
        hub.taken_in("owner/other", COMMIT, "model.pretrained"),
    ):
        pass


def test_a_hub_that_does_not_answer_is_given_up_within_seconds(monkeypatch, tmp_path):
    """The library itself would try for more than a minute; here a server takes connections and says nothing."""
    from huggingface_hub import constants

    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr(hub, "REACHED_WITHIN", 0.2)
        with (
            pytest.raises(BadSource, match="the hub cannot be reached"),
            hub.taken_in("owner/name", COMMIT, "data.path", "dataset"),
        ):
            pass


@pytest.mark.parametrize(
    ("code", "said"), [(503, r"cannot be reached \(HTTP 503\)"), (404, "no such commit.*HTTP 404")]
)
def test_a_hub_that_refuses_is_asked_once(monkeypatch, tmp_path, code, said):
    """Its library would ask again for half a minute; the cache is looked at all the same."""
    from huggingface_hub import constants

    asked = []

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(code)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        with pytest.raises(BadSource, match=said), hub.taken_in("owner/name", COMMIT, "data.path", "dataset"):
            pass
        server.shutdown()
    assert asked == [f"/api/datasets/owner/name/revision/{COMMIT}"]


def test_a_name_that_nothing_resolves_is_given_up(monkeypatch, tmp_path):
    """A resolver of names that does not answer is waited for by no timeout of the library's."""
    from huggingface_hub import constants

    ended = Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **more: ended.wait() and [])
    monkeypatch.setattr(constants, "ENDPOINT", "http://hub.invalid")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "REACHED_WITHIN", 0.2)
    with (
        pytest.raises(BadSource, match=r"cannot be reached \(.*data.path=FOLDER"),
        hub.taken_in("owner/name", COMMIT, "data.path", "dataset"),
    ):
        pass
    ended.set()


@pytest.mark.parametrize("source", ["./gpt2", "../gpt2", "/no/such/folder", "~/no-such-folder", "a/b/c", "a b"])
def test_a_path_is_never_asked_of_the_hub(source):
    with pytest.raises(BadSource, match=r"data.path=FOLDER or data.path=OWNER/NAME"):
        hub.source_recipe(source, COMMIT, "data.path")


@pytest.mark.parametrize("revision", [None, "main", "v1.0", COMMIT[:7], COMMIT.replace("a", "g") + "0"])
def test_a_repository_is_named_by_a_commit(revision):
    """A branch is another model tomorrow, under the same key."""
    with pytest.raises(BadSource, match=r"model.revision=.* is none; it must have 40 hexadecimal digits"):
        hub.source_recipe("owner/name", revision, "model.pretrained")


def test_a_commit_that_the_configuration_names_is_of_no_other_repository():
    named = [OmegaConf.load(path) for path in configuration_folder().glob("*/*.yaml")]
    pinned = {each.revision: each.get("pretrained") or each.path for each in named if each.get("revision")}
    assert pinned == hub.PINNED
    for revision, owner in pinned.items():
        assert hub.source_recipe(owner, revision, "model.pretrained") == {"hub": owner, "revision": revision}
        with pytest.raises(
            BadSource, match=f"model.revision={revision} is one of {owner}; it must be one of me/other, "
        ):
            hub.source_recipe("me/other", revision, "model.pretrained")


def test_a_folder_that_has_the_name_of_a_repository_is_named_by_its_content(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert hub.source_recipe("owner/name", COMMIT, "model.pretrained") == {"hub": "owner/name", "revision": COMMIT}
    (tmp_path / "owner" / "name").mkdir(parents=True)
    (tmp_path / "owner" / "name" / "config.json").write_text("{}", "utf-8")
    assert hub.source_recipe("owner/name", COMMIT, "model.pretrained") == {"folder": fingerprint("owner/name")}
