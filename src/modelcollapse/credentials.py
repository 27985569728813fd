"""Secrets, which must not reach a file, a log or a server: those of the environment, and those within URLs."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

SECRET_NAME = re.compile(
    r"(^|_)(KEY|API_?KEYS?|CREDENTIALS?|PASS|PAT)$|(TOKEN|SECRETS?|PASSWORDS?|PASSWD|PASSPHRASE|SSHPASS|_PWD)$",
    re.IGNORECASE,
)
"""What the names of secrets in the environment look like. PWD alone is the working folder."""
SHORTEST = 8
"""Characters; shorter values are words that occur by chance."""
URL_SECRETS = (
    re.compile(r"[a-z][a-z0-9+.-]*:/+[^\s/?#@:]*:(?P<secret>[^\s/?#@]+)@", re.IGNORECASE),
    re.compile(r"https?:/+(?P<secret>[^\s/?#@:]{16,})@", re.IGNORECASE),
    re.compile(r"[?&][\w-]*(token|key|secret|password|sig|signature)=(?P<secret>[^\s&#]{8,})", re.IGNORECASE),
)
"""Secrets within a URL: after the name of a user, a token in the place of a user, and as an argument.

A path may have made one slash of two.
"""
HIDDEN = "<secret>"


def secrets() -> list[tuple[str, str]]:
    """Name and value of the secrets in the environment, those within URLs among them."""
    found = []
    for name, value in os.environ.items():
        inner = [value] if SECRET_NAME.search(name) else _url_secrets(value)
        found += [(name, secret) for secret in inner if len(secret) >= SHORTEST]
    return found


def without_secrets(value: Any) -> Any:
    """Copy nested plain values, with the secrets of the environment replaced by their variables' names.

    A secret is the value, of eight characters or more, of a variable named ``..._KEY``, ``..._TOKEN``, ``..._SECRET``,
    ``..._PASSWORD``, ``..._PASS``, ``..._PAT``, ``..._CREDENTIALS`` and the like, and what stands in the place of a
    password in a URL, of the environment or of the text itself.
    """
    return _without(value, secrets())


def _without(value: Any, found: Sequence[tuple[str, str]]) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _without(item, found) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without(item, found) for item in value]
    if isinstance(value, (bool, int, float)) or value is None:
        return value
    text = str(value)
    for name, secret in found:
        for form in _quoted_forms(secret):
            text = text.replace(form, f"<{name}>")
    for secret in _url_secrets(text):
        text = text.replace(secret, HIDDEN)
    return text


def secret_problems(value: Any, path: str = "") -> Iterator[str]:
    """The settings that hold a secret, a message each; nothing reads a secret from the settings."""
    return _problems(value, path, secrets())


def _problems(value: Any, path: str, found: Sequence[tuple[str, str]]) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _text_problems(str(name), path or "a name", found)
            yield from _problems(item, f"{path}.{name}" if path else str(name), found)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _problems(item, f"{path}[{index}]", found)
    elif isinstance(value, (str, os.PathLike)):
        yield from _text_problems(os.fspath(value), path, found)


def _text_problems(text: str, path: str, found: Sequence[tuple[str, str]]) -> Iterator[str]:
    for name, secret in found:
        if secret in text:
            yield (
                f"{path}: holds the secret {name} of the environment; settings are written into records, so that it"
                " must be something else"
            )
    if _url_secrets(text):
        yield (
            f"{path}: holds a URL with a password or token; settings are written into records: leave it out, and let"
            " ~/.netrc, ~/.pgpass or a variable of the environment hold it"
        )


def _quoted_forms(secret: str) -> list[str]:
    """The secret as it is, and as it stands in quotes of Hydra's, of the shell's and of JSON."""
    escaped = secret.replace("\\", "\\\\")
    return [
        secret,
        secret.replace("'", "'\"'\"'"),
        escaped.replace("'", "\\'"),
        escaped.replace('"', '\\"').replace("\n", "\\n"),
    ]


def _url_secrets(text: str) -> list[str]:
    if ":/" not in text:
        return []
    found = (match["secret"] for pattern in URL_SECRETS for match in pattern.finditer(text))
    return [secret for secret in found if secret != HIDDEN and not (secret.startswith("<") and secret.endswith(">"))]
