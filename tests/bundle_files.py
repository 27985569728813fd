"""Bundles that somebody altered: taken apart, changed, and put together again with checksums that are right."""

import hashlib
import io
import json
import zipfile

MANIFEST = "manifest.json"


def members(path):
    """Name -> content of the members of a bundle."""
    with zipfile.ZipFile(path) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def with_checksums(content):
    """The members with a manifest that describes them as they are."""
    manifest = json.loads(content[MANIFEST])
    manifest["members"] = {
        name: {"bytes": len(value), "sha256": hashlib.sha256(value).hexdigest()}
        for name, value in content.items()
        if name != MANIFEST
    }
    return {**content, MANIFEST: json.dumps(manifest).encode()}


def archive_of(content, **options):
    """The bytes of an archive of (name or entry, content) pairs, not compressed."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **options) as archive:
        for name, value in content.items() if isinstance(content, dict) else content:
            archive.writestr(name, value)
    return file.getvalue()


def altered(path, target, name, change):
    """Write the bundle again with one member changed, and right checksums."""
    content = members(path)
    content[name] = change(content[name])
    target.write_bytes(archive_of(with_checksums(content)))
    return target


def json_changed(change):
    """A change of a JSON member: ``change`` is given its value, to alter it."""

    def changed(content):
        value = json.loads(content)
        return json.dumps(change(value) or value).encode()

    return changed
