"""Registries of everything that can be added: families, data, regimes, metrics and all other kinds.

A :class:`Member` is light: a name, a settings class, a version, and where its implementation is, which is imported when
the member is asked for. Members come from three places:

* the package itself: every module named ``registration`` below :mod:`modelcollapse` holds a tuple ``MEMBERS``;
* installed packages: entry points of the groups ``modelcollapse.<kind>``, such as ``modelcollapse.families``, each of
  which names a member, several of them, or a function that registers some when it is called;
* a script that was started: the decorators of :mod:`modelcollapse` register when they are run.

What is installed or started is trusted; what a configuration says is data, and can only choose among members by name.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from functools import cache, partial
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from modelcollapse.errors import UserError
from modelcollapse.settings import UNKNOWN, Problem, identity_of, nearest, read_what_can_be, shown

if TYPE_CHECKING:
    from importlib import metadata

PACKAGE = "modelcollapse"
CONF = "conf"
"""Name of the entry points that name folders of configuration files, see modelcollapse.config.extensions."""
SCRIPT_VARIABLE = "MODELCOLLAPSE_SCRIPT"
"""Environment variable that names the script whose registrations hold, for the processes that it starts."""
SCRIPT_MODULE = "modelcollapse_script"
"""Name that the script's module has in these processes."""
ENTRY_POINTS = "entry_points.txt"
"""File of an installed package that names its entry points."""
NOTEBOOK = "__main__"
"""Origin of what a notebook's cells register."""
REGISTRATION = "registration"
"""Name of the modules of this package that hold its own members."""

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "families": "model family",
        "data": "kind of data",
        "regimes": "regime",
        "decodings": "decoding",
        "rules": "rule of a selection",
        "scorers": "scorer of a selection",
        "merges": "merge",
        "edits": "edit of real data",
        "losses": "loss",
        "optimizers": "optimizer",
        "schedules": "schedule",
        "metrics": "metric",
        "loggers": "logger",
        "callbacks": "callback",
    }
)
"""Everything that can be registered: kind -> what one of them is called."""


MEMBER_GROUPS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {"model": ("families", "family"), "data": ("data", "kind"), "decoding": ("decodings", "kind")}
)
"""Groups whose settings class a registered member brings: group -> (kind of member, setting that names it)."""

REQUIRED_OPTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType({"callbacks": ("changes_results",)})
"""Required options of the members of a kind: without them finished work could be mistaken for other work."""


class RegistrationError(Exception):
    """A member cannot be registered: its name is taken by another one, or a required option of its kind is missing."""


@dataclass(frozen=True)
class Member:
    """One registered family, metric, regime or the like."""

    kind: str
    """One of :data:`KINDS`."""
    name: str
    """The name that chooses it in a configuration."""
    implementation: Any
    """The object itself, or ``"module:name"``, which is imported when it is asked for."""
    version: int = 1
    """Raised by hand when it comes to mean other numbers."""
    settings: type | None = None
    """Frozen dataclass of its own settings, if it has any."""
    label: str = ""
    """What it is called in figures and tables; the name if empty."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further options of its kind, such as the ``needs`` of a metric."""
    origin: str = PACKAGE
    """Where it comes from: this package, a distribution with its version, or the path of a script."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise RegistrationError(f"{self.kind!r} is no kind of member; there are: {', '.join(KINDS)}")
        missing = [name for name in REQUIRED_OPTIONS.get(self.kind, ()) if name not in self.options]
        if missing:
            raise RegistrationError(f"{KINDS[self.kind]} {self.name!r} does not say {', '.join(missing)}")

    @property
    def title(self) -> str:
        """What it is called in figures and tables."""
        return self.label or self.name

    @property
    def is_built_in(self) -> bool:
        """Whether it belongs to this package."""
        return self.origin == PACKAGE

    @property
    def package(self) -> str:
        """The package that its implementation is in; empty where it has none."""
        place = self.implementation if isinstance(self.implementation, str | None) else self.implementation.__module__
        return (place or "").partition(":")[0].partition(".")[0]

    def identity(self) -> dict[str, int | str]:
        """Its code identity for recipes: version and digest of the implementation."""
        from modelcollapse.code_digests.house import code_identity

        return code_identity(f"{self.kind}/{self.name}", self.version, (self.implementation,))

    def described(self) -> dict[str, Any]:
        """Its description for the record: kind, name, origin, version, and a digest of its code."""
        return {"kind": self.kind, "name": self.name, "origin": self.origin, **self.identity()}

    def load(self) -> Any:
        """The implementation; imports it where it is named by its place."""
        if not isinstance(self.implementation, str):
            return self.implementation
        return _imported(self.implementation)


class Registry:
    """The members of one kind, by name."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._members: dict[str, Member] = {}

    def add(self, member: Member) -> None:
        """Add a member.

        The same registration may run twice, as when a script is imported by a process that it started; the later one
        counts. Raises RegistrationError where two that differ have one name.
        """
        there = self._members.get(member.name)
        if there is not None and not _same(there, member):
            raise RegistrationError(
                f"{KINDS[self.kind]} {member.name!r}: two that differ have this name, one of {there.origin} and one of"
                f" {member.origin}"
            )
        self._members[member.name] = member

    @property
    def has_members(self) -> bool:
        """Whether something has been registered so far."""
        return bool(self._members)

    def __contains__(self, name: object) -> bool:
        _discover()
        return name in self._members

    def __iter__(self) -> Iterator[str]:
        _discover()
        return iter(sorted(self._members))

    def members(self) -> list[Member]:
        """All members, by name."""
        _discover()
        return [self._members[name] for name in sorted(self._members)]

    def __getitem__(self, name: str) -> Member:
        """The member of that name. Raises UserError that names those there are, and extensions that did not load."""
        _discover()
        if name in self._members:
            return self._members[name]
        raise UserError(self.unknown(name))

    def unknown(self, name: object) -> str:
        """What is wrong with a name that no member has."""
        there = ", ".join(self) or "none"
        return f"{shown(name)} is no {KINDS[self.kind]}{nearest(name, self)}; there are: {there}{self.not_loaded()}"

    def not_loaded(self) -> str:
        """The extensions of this kind that did not load, as the end of a message; nothing where all did."""
        return "".join(f"; {one.describe()}" for one in broken_extensions() if one.kind == self.kind)


@dataclass(frozen=True)
class Choice:
    """A member that settings have chosen, with its own settings."""

    kind: str
    name: str
    settings: Any = None
    """An object of the member's settings class; None where it has none."""

    @property
    def member(self) -> Member:
        """The member itself."""
        return registry(self.kind)[self.name]

    def build(self) -> Any:
        """The implementation with its settings as keyword arguments: a class is called, a function waits for the rest.

        Imports the implementation.
        """
        implementation = self.member.load()
        own = () if self.settings is None else fields(self.settings)
        named = {each.name: getattr(self.settings, each.name) for each in own}
        return implementation(**named) if isinstance(implementation, type) else partial(implementation, **named)

    def recipe(self) -> dict[str, Any]:
        """Its entry in a recipe: name, version and settings."""
        return {
            "name": self.name,
            **self.member.identity(),
            "settings": {} if self.settings is None else identity_of(self.settings),
        }


def needs_of(choice: Choice, usual: tuple[str, ...] = ()) -> tuple[str, ...]:
    """What a chosen member asks for by keyword, or ``usual`` where its registration does not say."""
    return tuple(choice.member.options.get("needs", usual))


NAME = "name"
"""Key of the member's name where it is chosen together with its settings."""


@dataclass(frozen=True)
class Registered:
    """Annotation of a setting that chooses a member of a kind, read into a :class:`Choice`.

    ``loss: Annotated[Any, Registered("losses")]`` takes a name, ``cross_entropy``, or a mapping of the name and the
    member's own settings, ``{name: truncated_cross_entropy, gamma: 0.9}``.
    """

    kind: str

    def read(self, value: Any, path: str, problems: list[str]) -> Any:
        """The Choice, or UNKNOWN and all that is wrong with it."""
        given = dict(value) if isinstance(value, Mapping) else {NAME: value}
        name, members = given.pop(NAME, None), registry(self.kind)
        if not isinstance(name, str):
            problems.append(f"{path}: {shown(value)} is not allowed; it must be {self.describe()}")
            return UNKNOWN
        if name not in members:
            problems.append(Problem(path, members.unknown(name), name))
            return UNKNOWN
        return read_choice(members[name], given, path, problems)

    def describe(self) -> str:
        """The names that there are, and how settings of the member are given."""
        return f"one of {', '.join(registry(self.kind))}, or {{{NAME}: ..., and its settings}}"


def read_choice(member: Member, values: Mapping[str, Any], path: str, problems: list[str]) -> Any:
    """The Choice of a member with its own settings, or UNKNOWN and all that is wrong, added to ``problems``."""
    if member.settings is None:
        elsewhere = member.options.get("settings_in")
        where = f"its settings are {elsewhere}.*" if elsewhere else f"{KINDS[member.kind]} {member.name} has none"
        problems += [f"{path}.{key}: no such setting; {where}" for key in values]
        return UNKNOWN if values else Choice(member.kind, member.name)
    settings: Any
    settings, found = read_what_can_be(member.settings, values, path)
    problems += found
    return UNKNOWN if found else Choice(member.kind, member.name, settings)


@dataclass(frozen=True)
class BrokenExtension:
    """An installed extension that could not be loaded; it stops only runs that ask for one of its members."""

    kind: str
    entry_point: str
    distribution: str
    error: str

    def describe(self) -> str:
        """One line for people."""
        return f"{self.entry_point} of {self.distribution} could not be loaded: {self.error}"


_REGISTRIES = {kind: Registry(kind) for kind in KINDS}
_BROKEN: list[BrokenExtension] = []


def registry(kind: str) -> Registry:
    """The registry of a kind."""
    return _REGISTRIES[kind]


def register(*members: Member) -> None:
    """Add members, each to the registry of its kind. Raises RegistrationError where a name is taken."""
    for member in members:
        _REGISTRIES[member.kind].add(member)


def broken_extensions() -> list[BrokenExtension]:
    """The installed extensions that could not be loaded."""
    if _is_extended():
        _discover()
    return list(_BROKEN)


def extensions() -> list[Member]:
    """All members that do not belong to this package, by kind and name."""
    if not _is_extended():
        return []
    return [member for kind in KINDS for member in registry(kind).members() if not member.is_built_in]


def _is_extended() -> bool:
    """Whether there can be members of other packages or scripts. Does not import the package's own."""
    registered = any(each.has_members for each in _REGISTRIES.values())
    return registered or SCRIPT_VARIABLE in os.environ or any(entry_points(kind) for kind in KINDS)


_DISCOVERED: list[bool] = []


def _discover() -> None:
    """Register the members of this package, of installed ones and of the script that was started, once in a process."""
    if _DISCOVERED:
        return
    # Noted beforehand: what is imported here may ask for members itself.
    _DISCOVERED.append(True)
    for module in _registration_modules():
        register(*import_module(module).MEMBERS)
    for kind in KINDS:
        for entry_point in entry_points(kind):
            _load_extension(kind, entry_point)
    _import_script()


def entry_points(name: str) -> Sequence[metadata.EntryPoint]:
    """The entry points of the group ``modelcollapse.<name>``, of all installed packages."""
    found: Sequence[metadata.EntryPoint] = _all_entry_points().select(group=f"{PACKAGE}.{name}") if _are_any() else ()
    return found


@cache
def _all_entry_points() -> Any:
    # Each call reads the files of every installed package, whichever group is asked for.
    from importlib import metadata

    return metadata.entry_points()


@cache
def _are_any() -> bool:
    """Whether an installed package can have entry points for this one.

    A look into their files takes a tenth of what importing importlib.metadata and parsing them all does.
    """
    return any(_can_extend(folder) for folder in sys.path)


def _can_extend(folder: str) -> bool:
    """Whether a folder of Python's path has such a package; an archive may have."""
    try:
        names = [entry.name for entry in os.scandir(folder or ".") if entry.name.lower().endswith("-info")]
    except NotADirectoryError:
        return True
    except OSError:
        return False
    return any(_names_entry_points(Path(folder, name, ENTRY_POINTS)) for name in names)


def _names_entry_points(file: Path) -> bool:
    with suppress(OSError):
        return f"[{PACKAGE}.".encode() in file.read_bytes()
    return False


def use_script(script: Path) -> str:
    """Let this process, and those that it starts, import a script for what it registers; returns its full path."""
    os.environ[SCRIPT_VARIABLE] = str(script.expanduser().resolve())
    return os.environ[SCRIPT_VARIABLE]


def _import_script() -> None:
    """Import the script that the work was started by, in a process that it started; the script itself is running."""
    script = os.environ.get(SCRIPT_VARIABLE)
    running = getattr(sys.modules.get("__main__"), "__file__", None)
    if not script or (running and os.path.realpath(running) == os.path.realpath(script)):
        return
    spec = spec_from_file_location(SCRIPT_MODULE, script)
    if spec is None or spec.loader is None or not Path(script).is_file():
        raise UserError(f"{SCRIPT_VARIABLE}: there is no script {script}")
    module = module_from_spec(spec)
    sys.modules[SCRIPT_MODULE] = module
    # As for a script that is started: modules beside it can be imported.
    sys.path.insert(0, str(Path(script).parent))
    _IMPORTING.append(script)
    try:
        spec.loader.exec_module(module)
    finally:
        _IMPORTING.pop()


_IMPORTING: list[str] = []


def imports_script() -> bool:
    """Whether this process, which a script started, imports that script at this moment."""
    spawning = sys.modules.get("multiprocessing.process")
    return bool(_IMPORTING) or getattr(spawning and spawning.current_process(), "_inheriting", False)


@contextmanager
def safe_imports() -> Iterator[None]:
    """Within the block, Python processes that are started import nothing from the working folder.

    They would put it before the installed packages: a file ``torch.py`` in it would run. A script that was started is
    imported by its path, with the modules beside it.
    """
    with restored_environment("PYTHONSAFEPATH", "PYTHONPATH"):
        os.environ["PYTHONSAFEPATH"] = "1"
        if places := os.environ.get("PYTHONPATH"):
            # An empty entry is the working folder.
            os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, places.split(os.pathsep)))
        yield


@contextmanager
def restored_environment(*names: str) -> Iterator[None]:
    """Put back, after the block, these environment variables."""
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _registration_modules() -> list[str]:
    folder = Path(__file__).parent
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        if f"{REGISTRATION}.py" in files:
            found.append(".".join([PACKAGE, *Path(parent).relative_to(folder).parts, REGISTRATION]))
    return sorted(found)


def _load_extension(kind: str, entry_point: metadata.EntryPoint) -> None:
    origin = distribution_of(entry_point)
    try:
        with registering_for(origin):
            loaded = entry_point.load()
            given = loaded() if callable(loaded) and not isinstance(loaded, type) else loaded
            register(*_members_of(given, origin))
    except Exception as error:
        # Whatever a foreign package raises while it is imported, runs that do not ask for it go on.
        broken(kind, entry_point, f"{type(error).__name__}: {error}")


def distribution_of(entry_point: metadata.EntryPoint) -> str:
    """Name and version of the distribution that an entry point belongs to."""
    distribution = entry_point.dist
    return f"{distribution.name} {distribution.version}" if distribution else entry_point.value


def broken(kind: str, entry_point: metadata.EntryPoint, error: str) -> None:
    """Note an extension that could not be loaded."""
    _BROKEN.append(BrokenExtension(kind, entry_point.name, distribution_of(entry_point), error))


def _members_of(given: Any, origin: str) -> Iterable[Member]:
    from dataclasses import replace

    members = [given] if isinstance(given, Member) else given if isinstance(given, (list, tuple)) else []
    return [replace(member, origin=origin) if member.is_built_in else member for member in members]


_ORIGIN: list[str] = []


class registering_for:  # noqa: N801 - reads as a function, as context managers do
    """Within the block, what registers itself by a decorator belongs to ``origin``."""

    def __init__(self, origin: str) -> None:
        self._origin = origin

    def __enter__(self) -> None:
        _ORIGIN.append(self._origin)

    def __exit__(self, *_: object) -> None:
        _ORIGIN.pop()


def origin_of(implementation: Callable[..., Any]) -> str:
    """Where something that registers itself belongs: the package being loaded, else the file that it stands in.

    What is defined in a notebook stands in no file, and belongs to its ``__main__``.
    """
    if _ORIGIN:
        return _ORIGIN[-1]
    code = getattr(implementation, "__code__", None)
    file = code.co_filename if code else getattr(sys.modules.get(implementation.__module__), "__file__", None)
    return str(Path(file).resolve()) if file and Path(file).is_file() else str(implementation.__module__)


def _imported(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def _same(one: Member, other: Member) -> bool:
    """Whether two members are the same registration run twice, in ``__main__`` and under the module's own name.

    So is one of a notebook's cell that was edited: it belongs to ``__main__``, which is no file there.
    """
    if one.origin == other.origin == NOTEBOOK:
        return True
    return (one.version, one.origin, _place(one)) == (other.version, other.origin, _place(other))


def _place(member: Member) -> Any:
    implementation = member.implementation
    return implementation if isinstance(implementation, str) else getattr(implementation, "__qualname__", None)
