"""Secrets of the environment, which must not reach a file, a log or a server."""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

SECRET_NAME = re.compile(r"(^|_)(API_?KEY|KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS)$", re.IGNORECASE)
"""What the names of secrets in the environment look like."""
SHORTEST = 8
"""Characters; shorter values are words that occur by chance."""


def secrets() -> dict[str, str]:
    """Name -> value of the environment variables that hold secrets."""
    return {name: value for name, value in os.environ.items() if SECRET_NAME.search(name) and len(value) >= SHORTEST}


def without_secrets(value: Any) -> Any:
    """Copy nested plain values, with the secrets of the environment replaced by their variables' names.

    A secret is the value, of eight characters or more, of a variable named ``..._KEY``, ``..._TOKEN``,
    ``..._SECRET``, ``..._PASSWORD`` or ``..._CREDENTIALS``.
    """
    return _without(value, secrets())


def _without(value: Any, found: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _without(item, found) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without(item, found) for item in value]
    if isinstance(value, (bool, int, float)) or value is None:
        return value
    text = str(value)
    for name, secret in found.items():
        text = text.replace(secret, f"<{name}>")
    return text


def secret_problems(value: Any, path: str = "") -> Iterator[str]:
    """The settings that hold a secret, a message each; nothing reads a secret from the settings."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from secret_problems(item, f"{path}.{name}" if path else str(name))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from secret_problems(item, f"{path}[{index}]")
    elif isinstance(value, str):
        for name, secret in secrets().items():
            if secret in value:
                yield (
                    f"{path}: holds the secret {name} of the environment; settings are written into records, so that it"
                    " must be something else"
                )
