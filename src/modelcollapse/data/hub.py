"""Weights and data sets in the Hugging Face hub's format: local folders by their content, repositories by their commit.

Libraries are handed a view of a local folder and nothing else: no name that they might look up in the working folder,
and no cache of theirs but that of the hub's files, which are verified.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, Literal

from modelcollapse.data.sources import BadSource, file_bytes, files_of, fingerprint, reason_of, view

COMMIT = re.compile(r"[0-9a-f]{40}")
REPOSITORY = re.compile(r"[\w.-]+(/[\w.-]+)?")
PINNED = {
    "27dcfa74d334bc871f3234de431e71c6eeba5dd6": "facebook/opt-125m",
    "b08601e04326c79dfdd32d625aee71d232d685c3": "Salesforce/wikitext",
    "77f3279092a1c1579b2250db8eafed0ad422088c": "ylecun/mnist",
}
"""Commits that options of the configuration name, and whose they are: where another repository is chosen, they are not
its."""
REACHED_WITHIN = 5.0
"""Seconds in which the hub answers, or it is taken for unreachable."""
Kind = Literal["model", "dataset"]


def local_folder(source: str, setting: str) -> Path | None:
    """The folder that a setting's value names; None where it names a repository of the hub.

    Raises BadSource for what can be neither.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return path
    if not REPOSITORY.fullmatch(source) or source.startswith("."):
        raise BadSource(
            f"{setting}={source}: there is no such folder, and it is no name of a repository of the hub; it must be one"
            f" of both, {setting}=FOLDER or {setting}=OWNER/NAME"
        )
    return None


def source_recipe(source: str, revision: str | None, setting: str) -> dict[str, Any]:
    """Identity of a source: a folder by its content, a repository of the hub by its name and commit.

    Raises BadSource where ``setting`` names neither, or no commit of a repository.
    """
    if folder := local_folder(source, setting):
        return {"folder": fingerprint(folder)}
    place = f"{setting.rpartition('.')[0]}.revision"
    local = f"or {setting}=FOLDER name a local copy"
    if revision is None or not COMMIT.fullmatch(revision):
        raise BadSource(
            f"{setting}={source}: there is no such folder here, and a repository of the hub is named by its commit, of"
            f" which {place}={'null' if revision is None else revision} is none; it must have 40 hexadecimal digits,"
            f" {local}"
        )
    if (owner := PINNED.get(revision, source)) != source:
        raise BadSource(
            f"{setting}={source}: there is no such folder here, and a repository of the hub is named by its commit:"
            f" {place}={revision} is one of {owner}; it must be one of {source}, {local}"
        )
    return {"hub": source, "revision": revision}


@contextmanager
def taken_in(
    source: str, revision: str | None, setting: str, kind: Kind = "model", configuration: str | None = None
) -> Iterator[Path]:
    """A view of the files of a local folder, or of a repository of the hub at a commit, which is fetched once.

    Raises BadSource where there is neither.
    """
    folder = local_folder(source, setting)
    if folder is None:
        folder = _fetched(source, str(revision), setting, kind, configuration)
    with view(folder) as root:
        yield root


def _fetched(repository: str, revision: str, setting: str, kind: Kind, configuration: str | None) -> Path:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    place: dict[str, Any] = {"revision": revision, "repo_type": kind}
    advice = f"{setting}=FOLDER takes a local copy"
    refusal = _refusal(repository, revision, kind)
    try:
        if refusal is None:
            names = huggingface_hub.HfApi().list_repo_files(repository, **place)
            patterns = _patterns(names, configuration) if kind == "dataset" else WEIGHTS
            folder = huggingface_hub.snapshot_download(repository, **place, allow_patterns=patterns)
        else:
            folder = huggingface_hub.snapshot_download(repository, **place, local_files_only=True)
    except LocalEntryNotFoundError as error:
        raise BadSource(
            f"{setting}={repository}: {refusal or UNREACHABLE}, and its cache does not hold commit {revision};"
            f" without it, {advice}"
        ) from error
    except Exception as error:
        # What a server answers is of no one kind.
        raise BadSource(
            f"{setting}={repository}: commit {revision} could not be fetched from the hub ({reason_of(error)});"
            f" {advice}"
        ) from error
    _verify_blobs(Path(folder))
    return Path(folder)


UNREACHABLE = "the hub cannot be reached"
UNKNOWN_THERE = (401, 403, 404)
"""What the hub answers where a repository or commit is not there, or not for everybody."""


def _refusal(repository: str, revision: str, kind: Kind) -> str | None:
    """Why the hub does not give a commit, in words; None where it does.

    It is asked once, for as long as people wait: its library tries for minutes before it gives up.
    """
    answers: list[str | None] = []
    # In a thread: the time that a resolver of names takes is bounded by no argument.
    asking = Thread(target=lambda: answers.append(_answer(repository, revision, kind)), daemon=True)
    asking.start()
    asking.join(2 * REACHED_WITHIN)
    return answers[0] if answers else f"{UNREACHABLE} (no answer in {2 * REACHED_WITHIN:g} s)"


def _answer(repository: str, revision: str, kind: Kind) -> str | None:
    from huggingface_hub import constants, get_session
    from huggingface_hub.utils import build_hf_headers

    address = f"{constants.ENDPOINT}/api/{kind}s/{repository}/revision/{revision}"
    try:
        code = get_session().get(address, headers=build_hf_headers(), timeout=REACHED_WITHIN).status_code
    except Exception as error:
        # What becomes of a connection is of no one kind.
        return f"{UNREACHABLE} ({reason_of(error)})"
    if code in UNKNOWN_THERE:
        return f"the hub gives no such commit, or gives it only to those who log in (HTTP {code})"
    return None if code < 400 else f"{UNREACHABLE} (HTTP {code})"


WEIGHTS = ["*.json", "*.safetensors", "pytorch_model*.bin", "*.txt", "*.model", "*.jinja"]
"""Files of a repository of weights; the same weights in other formats are not fetched."""


def _patterns(names: Iterable[str], configuration: str | None) -> list[str]:
    """The files of one configuration of a data set, where files are named after it, or else all."""
    own = [name for name in names if configuration and configuration in name.split("/")[0]]
    return ["*.md", "*.json", *own] if own else ["*"]


def _verify_blobs(snapshot: Path) -> None:
    """Check that what the hub's cache holds is what its names say: SHA-256, or git's hash of small files."""
    for name, blob in files_of(snapshot).items():
        size, digest = blob.stat().st_size, hashlib.sha256()
        if len(blob.name) == 40:
            digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
        elif len(blob.name) != 64:
            continue
        for chunk in file_bytes(blob):
            digest.update(chunk)
        if digest.hexdigest() != blob.name:
            raise BadSource(
                f"{snapshot / name}: the hub's cache holds another file than was fetched; delete {blob}, and it is"
                " fetched again"
            )


# ---- data sets ------------------------------------------------------------------------------------------------------


@contextmanager
def data_set(folder: Path, configuration: str | None, split: str) -> Iterator[Any]:
    """Rows of a split of the data set in a folder, read without any cache. Raises BadSource where it reads other files.

    Whatever the library raises comes through.
    """
    import datasets

    with tempfile.TemporaryDirectory(prefix="modelcollapse-") as cache:
        if (folder / "dataset_dict.json").is_file():
            rows = datasets.load_from_disk(str(folder))[split]
            _verify_inside(folder, [file["filename"] for file in rows.cache_files])
        else:
            builder = datasets.load_dataset_builder(str(folder), configuration, cache_dir=cache)
            files = builder.config.data_files or {}
            _verify_inside(folder, [str(file) for listed in files.values() for file in listed])
            builder.download_and_prepare()
            rows = builder.as_dataset(split)
        yield rows


def _verify_inside(folder: Path, files: Iterable[str]) -> None:
    for file in files:
        if not Path(os.path.normpath(file)).is_relative_to(folder):
            raise BadSource(f"it names {file}, which does not lie in its folder")
