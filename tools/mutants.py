"""Changes modules that compute numbers, one small change at a time, and says which changes no test notices.

    make mutants                                            a sample of every module
    make mutants ARGS="--only seeding --seed 1"             another sample, of the modules whose names hold a word
    make mutants ARGS="--only possible --per-module 1000"   all of a module

A mutant is a module with one change (:mod:`mutations`); it is killed by the first test that fails on it. Those that
survive are listed; ``mutants_equivalent.toml`` names the ones that compute the same, each with the reason.

Each mutant is a process forked from one that has imported the libraries, the package and its tests. There the code of
the changed function is replaced in place. What that does not reach, such as values computed by the import and compiled
loops, is tried in a process that imports the package with the change. No file changes, so that no test fails because
digests notice an edit: only behaviour kills. Processes that a test starts import the package as it is.

The tests that run the changed line come first, the fastest of them in front, as a traced run on the code as it is has
shown; long tests are left out. A mutant has several times the processor time of all its tests; one that is stopped
there counts as killed.

Why not mutmut or cosmic-ray: both change files, which the digests of the code notice; they start a process, with its
six seconds of imports, for each mutant; and neither knows of Numba's cache of compiled loops, which would go on running
the unchanged ones. cosmic-ray also needs SQLAlchemy and twelve more packages.
"""

import argparse
import gc
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import tomllib
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import pytest
from mutations import Mutation, mutated, mutations

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = "modelcollapse"
EQUIVALENTS = Path(__file__).with_name("mutants_equivalent.toml")
LIBRARIES = (
    "hydra",
    "hypothesis",
    "matplotlib.pyplot",
    "numba",
    "pandas",
    "pyarrow.parquet",
    "pytorch_lightning",
    "scipy.optimize",
    "scipy.stats",
    "sklearn.mixture",
    "torch",
    "transformers",
    "transformers.models.opt.modeling_opt",
)
"""What most tests import, once for all mutants."""
SECONDS, TIMES = 20, 5
"""A mutant's processor time: so many seconds, and so many times those of the tests on the code as it is."""
LONGEST = 4
"""Processor seconds of the longest test that mutants run."""
BROKEN = 77
"""Exit code of a process in which the tool itself failed."""
CALLS = 100
"""How many calls of a function are traced in each test."""
COMPILING = 100
"""Seconds that compiling the loops anew may take."""
WAITING = 300
"""Seconds after which a test that only waits has failed."""

REGIMES = (
    "regimes/test_composition.py",
    "regimes/test_rules.py",
    "regimes/test_general.py",
)
DECODING = ("decoding/test_beam_search.py", "decoding/test_native_engine.py", "decoding/test_engines.py")
MIXTURES = ("families/test_mixture_kernels.py", "families/test_mixture.py")

MODULES: dict[str, tuple[str, ...]] = {
    "seeding": ("test_seeding.py",),
    "report/statistics": ("report/test_statistics.py",),
    "report/possible": ("report/test_statistics.py",),
    "metrics/diversity": ("metrics/test_diversity.py",),
    "metrics/distribution": ("metrics/test_distribution.py",),
    "metrics/images": ("metrics/test_image_metrics.py",),
    "metrics/likelihood": ("metrics/test_likelihood.py",),
    "families/language_model/losses": ("families/test_linear_cross_entropy.py",),
    "families/gaussian_mixture/distances": ("families/test_gaussian_mixture_distances.py",),
    "data/blocks": ("data/test_blocks.py",),
    "regimes/shares": REGIMES,
    "regimes/rows": REGIMES,
    "regimes/reserve": REGIMES,
    "regimes/availability": ("regimes/test_availability.py",),
    "regimes/composition": REGIMES,
    "regimes/settings": REGIMES,
    "regimes/rules": REGIMES,
    "store/artifacts": ("store/test_keys.py",),
    "store/manifest": ("store/test_making.py", "store/test_damaged_artifacts.py"),
    "store/claims": ("record/test_claims.py",),
    "decoding/native/search": DECODING,
    "decoding/native/beam_search": DECODING,
    "decoding/native/sampling": DECODING,
    "decoding/native/history": DECODING,
    "families/gaussian/theory": ("families/test_theory.py",),
    "families/gaussian/estimator": ("families/test_gaussian.py",),
    "families/discrete/theory": ("families/test_theory.py",),
    "families/discrete/estimator": ("families/test_discrete.py",),
    "record/comparison": ("record/test_comparison.py", "commands/test_compare.py"),
    "families/gaussian_mixture/estimator": MIXTURES,
    "families/gaussian_mixture/expectation_maximisation": MIXTURES,
    "families/gaussian_mixture/clustering": MIXTURES,
    "families/gaussian_mixture/kernels": MIXTURES,
}
"""Module -> its tests."""


@dataclass
class Baseline:
    """Tests on the code as it is."""

    seconds: dict[str, float] = field(default_factory=dict)
    """Test -> how long it takes."""
    lines: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    """Test -> module -> its lines that the test runs."""
    processor_seconds: float = 0
    """Of all tests together."""

    def limit(self) -> float:
        """Processor seconds that a mutant has."""
        return SECONDS + TIMES * self.processor_seconds


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant."""

    module: str
    mutation: Mutation
    killed_by: str | None
    """A test, or how else it ended; None where it survived."""
    reason: str | None = None
    """Why it computes the same, where somebody has written that down."""

    def __str__(self) -> str:
        outcome = self.killed_by or self.reason or "SURVIVED"
        return (
            f"{self.module}.py:{self.mutation.line}: {outcome}\n  - {self.mutation.before}\n  + {self.mutation.after}"
        )


# ---- processes -------------------------------------------------------------------------------------------------------


def forked(function: Callable[[Path], Mapping[str, Any]], limit: float) -> dict[str, Any]:
    """What a function returns in a process of its own, with a folder and limited processor time.

    Raises RuntimeError where the function does.
    """
    place = Path(tempfile.mkdtemp(prefix="mutant-"))
    process = os.fork()
    if process == 0:
        _be_child(function, place, limit)
    _, status = os.waitpid(process, 0)
    with suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)  # what the tests of a mutant left running
    try:
        found = dict(json.loads((place / "found.json").read_text()))
    except FileNotFoundError:
        found = {"failed": f"status {os.waitstatus_to_exitcode(status)}"}
    output = (place / "output").read_text(errors="replace")[-2000:]
    shutil.rmtree(place, ignore_errors=True)
    if found["failed"] == f"status {BROKEN}":
        raise RuntimeError(f"a mutant could not be run:\n{output}")
    return {**found, "output": output}


def _be_child(function: Callable[[Path], Mapping[str, Any]], place: Path, limit: float) -> None:
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CPU, (int(limit), int(limit) + 5))
    output = os.open(place / "output", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(output, stream)
    try:
        (place / "found.json").write_text(json.dumps(function(place)))
        code = 0
    except Exception:  # the tests' own are noted by pytest: this one is of the tool
        traceback.print_exc()
        code = BROKEN
    except BaseException:  # whatever a mutant raises, it must not go on as its parent
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    os._exit(code)


def run_pytest(place: Path, tests: Sequence[str], *plugins: object) -> int:
    """Run tests until the first failure; pytest's exit code."""
    options = ["-x", "-q", "-s", "-p", "no:cacheprovider", "-p", "no:xdist", f"--timeout={WAITING}"]
    files = [str(REPOSITORY / "tests" / test) for test in tests]
    return int(pytest.main([*options, f"--basetemp={place / 'tests'}", *files], plugins=plugins))


# ---- the tests on the code as it is ----------------------------------------------------------------------------------


class Tracer:
    """Notes which lines of some modules each test runs, with its fixtures, and how long it takes."""

    def __init__(self, modules: Sequence[str]) -> None:
        self._modules = {str(file_of(module)): module for module in modules}
        self._lines: dict[str, set[int]] = {}
        self._calls: Counter[CodeType] = Counter()
        self.seconds: dict[str, float] = {}
        self.lines: dict[str, dict[str, list[int]]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Trace a test."""
        start, self._lines = time.process_time(), {module: set() for module in self._modules.values()}
        self._calls.clear()
        sys.settrace(self._trace)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            self.seconds[item.nodeid] = time.process_time() - start
            self.lines[item.nodeid] = {module: sorted(lines) for module, lines in self._lines.items()}

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        module = self._modules.get(frame.f_code.co_filename)
        if module is None or self._calls[frame.f_code] == CALLS:
            return None
        self._calls[frame.f_code] += 1
        lines = self._lines[module]

        def trace_line(frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
            lines.add(frame.f_lineno)
            return trace_line

        return trace_line


class FirstFailure:
    """Runs the tests of a line before all others, the fastest first, and notes the first that fails."""

    def __init__(self, baseline: Baseline, module: str = "", line: int = 0) -> None:
        self._baseline, self._module, self._line = baseline, module, line
        self.test: str | None = None

    def is_short(self, item: pytest.Item) -> bool:
        """Whether a test is run."""
        return self._baseline.seconds.get(item.nodeid, 0) <= LONGEST

    def order(self, test: str) -> tuple[bool, float]:
        """What tests are sorted by."""
        is_elsewhere = self._line not in self._baseline.lines.get(test, {}).get(self._module, ())
        return is_elsewhere, self._baseline.seconds.get(test, 0)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Order the tests."""
        items[:] = sorted(filter(self.is_short, items), key=lambda item: self.order(item.nodeid))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a failure."""
        if report.failed and self.test is None:
            self.test = report.nodeid


def file_of(module: str) -> Path:
    """Where a module's source is."""
    return REPOSITORY / "src" / PACKAGE / f"{module}.py"


def name_of(module: str) -> str:
    """What a module is imported as."""
    return f"{PACKAGE}.{module.replace('/', '.')}"


# ---- mutants by other code in place ----------------------------------------------------------------------------------


OUT_OF_REACH = "no function has the changed code"


class Patching:
    """Runs mutants in processes forked from the one that has collected the tests."""

    def __init__(self, mutants: Mapping[str, Sequence[Mutation]], write: Callable[[Verdict], None]) -> None:
        self._mutants, self._write = mutants, write
        self.baseline = Baseline()
        self.killed_by: list[str | None] = []
        """For each mutant in turn; None where it survived, or OUT_OF_REACH."""

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run mutants in the place of the tests."""
        if session.testsfailed:
            raise RuntimeError("the tests cannot be collected")
        _search_without_shrinking()
        self.baseline = measured(session, list(self._mutants))
        for module, mutants in self._mutants.items():
            functions = functions_of(module)
            for mutation in mutants:
                self._try(session, module, mutation, functions)
        return True

    def _try(self, session: pytest.Session, module: str, mutation: Mutation, functions: "Functions") -> None:
        def run(_: Path) -> Mapping[str, Any]:
            if not patch(module, mutation, functions):
                return {"failed": OUT_OF_REACH}
            return {"failed": first_failure(session, FirstFailure(self.baseline, module, mutation.line))}

        self.killed_by.append(forked(run, self.baseline.limit())["failed"])
        if self.killed_by[-1] != OUT_OF_REACH:
            self._write(Verdict(module, mutation, self.killed_by[-1]))


def _search_without_shrinking() -> None:
    """Hypothesis tries fewer examples, stops at the first that fails, and remembers none."""
    from hypothesis import Phase, settings

    settings.register_profile(
        "mutants", deadline=None, database=None, phases=(Phase.explicit, Phase.generate), max_examples=30
    )
    settings.load_profile("mutants")


def measured(session: pytest.Session, modules: Sequence[str]) -> Baseline:
    """The tests, traced.

    Raises RuntimeError where they fail.
    """

    def trace(_: Path) -> Mapping[str, Any]:
        tracer, start = Tracer(modules), time.process_time()
        session.config.pluginmanager.register(tracer)
        failed = first_failure(session, FirstFailure(Baseline()))
        spent = time.process_time() - start
        return {"failed": failed, **vars(Baseline(tracer.seconds, tracer.lines, spent))}

    found = forked(trace, 3600)
    if found["failed"]:
        raise RuntimeError(f"the tests fail on the code as it is: {found['failed']}\n{found['output']}")
    return Baseline(found["seconds"], found["lines"], found["processor_seconds"])


def first_failure(session: pytest.Session, first: FirstFailure) -> str | None:
    """Run the collected tests until one fails; which it was."""
    session.config.pluginmanager.register(first)
    items = sorted(filter(first.is_short, session.items), key=lambda item: first.order(item.nodeid))
    for item, following in zip(items, [*items[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if first.test is not None:
            break
    return first.test


Functions = Mapping[tuple[str, int], Sequence[FunctionType]]
"""Qualified name and first line -> the function objects of that code."""


def functions_of(module: str) -> Functions:
    """All functions of a module that exist, methods and wrapped ones included."""
    found, path = defaultdict(list), str(file_of(module))
    for each in gc.get_objects():
        if type(each) is FunctionType and each.__code__.co_filename == path:
            found[each.__code__.co_qualname, each.__code__.co_firstlineno].append(each)
    return found


def patch(module: str, mutation: Mutation, functions: Functions) -> bool:
    """Replace the code of the changed functions; whether there was one whose code is what runs."""
    path, values = str(file_of(module)), vars(sys.modules[name_of(module)]).values()
    # By their types: some values answer every question about their attributes with an error.
    compiled = {id(value.py_func) for value in values if type(value).__module__.startswith("numba")}
    is_patched = False
    for code in _codes(compile(mutated_source(module, mutation), path, "exec", dont_inherit=True)):
        for function in functions.get((code.co_qualname, code.co_firstlineno), ()):
            if id(function) in compiled:
                return False
            if function.__code__ != code:
                function.__code__ = code
                is_patched = True
    for value in values:
        if hasattr(type(value), "cache_clear"):
            value.cache_clear()
    return is_patched


def mutated_source(module: str, mutation: Mutation) -> Any:
    """The syntax tree of a module with a change."""
    return mutated(file_of(module).read_text(encoding="utf-8"), mutation)


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


# ---- mutants by the import -------------------------------------------------------------------------------------------


class MutatingLoader(importlib.machinery.SourceFileLoader):
    """Loads a module from its file, changed."""

    def __init__(self, module: str, mutation: Mutation) -> None:
        super().__init__(name_of(module), str(file_of(module)))
        self._module, self._mutation = module, mutation

    def get_code(self, fullname: str) -> Any:
        """The code of the changed module."""
        return compile(mutated_source(self._module, self._mutation), self.path, "exec", dont_inherit=True)


class MutatingFinder(importlib.abc.MetaPathFinder):
    """Finds one module by its mutating loader."""

    def __init__(self, module: str, mutation: Mutation) -> None:
        self._module, self._mutation = module, mutation

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        """The specification of the module; of all others none."""
        if fullname != name_of(self._module):
            return None
        loader = MutatingLoader(self._module, self._mutation)
        return importlib.util.spec_from_file_location(fullname, file_of(self._module), loader=loader)


def imported(module: str, mutation: Mutation, baseline: Baseline) -> str | None:
    """The first test that fails where the module is imported with a change."""

    def run(place: Path) -> Mapping[str, Any]:
        sys.meta_path.insert(0, MutatingFinder(module, mutation))
        if "compiled" in file_of(module).read_text(encoding="utf-8"):
            import numba

            numba.config.CACHE_DIR = str(place / "compiled")
        first = FirstFailure(baseline, module, mutation.line)
        code = run_pytest(place, MODULES[module], first)
        return {"failed": first.test or (f"the import (pytest: {code})" if code else None)}

    return forked(run, baseline.limit() + COMPILING)["failed"]


# ---- all of it -------------------------------------------------------------------------------------------------------


def known_equivalents() -> Mapping[tuple[str, str, str], str]:
    """Module, lines before and lines after -> why both compute the same."""
    entries = tomllib.loads(EQUIVALENTS.read_text(encoding="utf-8")).get("mutant", [])
    return {(entry["module"], entry["before"], entry["after"]): entry["reason"] for entry in entries}


def sampled(module: str, seed: int, count: int) -> list[Mutation]:
    """A sample of the mutants of a module."""
    every = mutations(file_of(module).read_text(encoding="utf-8"))
    return random.Random(f"{seed} {module}").sample(every, min(count, len(every)))


def verdicts(
    tests: Sequence[str], mutants: Mapping[str, Sequence[Mutation]], write: Callable[[Verdict], None]
) -> Iterator[Verdict]:
    """Verdicts on mutants of some modules by their tests."""

    def run(place: Path) -> Mapping[str, Any]:
        patching = Patching(mutants, write)
        code = run_pytest(place, tests, patching)
        return {"failed": code and f"pytest: {code}", "killed_by": patching.killed_by, **vars(patching.baseline)}

    found = forked(run, 10**6)
    if found["failed"]:
        raise RuntimeError(f"{' '.join(tests)}: {found['failed']}\n{found['output']}")
    baseline = Baseline(found["seconds"], found["lines"], found["processor_seconds"])
    pairs = [(module, mutation) for module in mutants for mutation in mutants[module]]
    for (module, mutation), killed_by in zip(pairs, found["killed_by"], strict=True):
        if killed_by == OUT_OF_REACH:
            killed_by = imported(module, mutation, baseline)
            write(Verdict(module, mutation, killed_by))
        yield Verdict(module, mutation, killed_by)


def verdicts_on(modules: Sequence[str], options: argparse.Namespace) -> Iterator[Verdict]:
    """Verdicts on a sample of the mutants of some modules; those that are known to be equivalent are not run."""
    shown = os.fdopen(os.dup(1), "w", buffering=1)

    def write(verdict: Verdict) -> None:
        if options.verbose or verdict.killed_by is None:
            shown.write(f"{verdict}\n")

    reasons = known_equivalents()
    groups: dict[tuple[str, ...], dict[str, list[Mutation]]] = defaultdict(dict)
    for module in modules:
        kept = groups[MODULES[module]].setdefault(module, [])
        for mutation in sampled(module, options.seed, options.per_module):
            reason = reasons.get((module, mutation.before, mutation.after))
            if reason:
                yield Verdict(module, mutation, None, reason)
            else:
                kept.append(mutation)
    for tests, mutants in groups.items():
        yield from verdicts(tests, mutants, write)


def table(modules: Sequence[str], found: Sequence[Verdict]) -> str:
    """Of each module, and of all, how many mutants were seen, killed, equivalent, and survived."""
    kinds = ("killed", "equivalent", "survived")
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for verdict in found:
        kind = "killed" if verdict.killed_by else "equivalent" if verdict.reason else "survived"
        counts[verdict.module][kind] += 1
        counts["all"][kind] += 1
    lines = [f"| {' | '.join(['module', 'mutants', *kinds])} |", "|---|---|---|---|---|"]
    for name in (*modules, "all"):
        numbers = [counts[name].total(), *(counts[name][kind] for kind in kinds)]
        lines.append(f"| {' | '.join([f'`{name}`' if name in modules else name, *map(str, numbers)])} |")
    return "\n".join(lines)


def main() -> None:
    """Print the mutants that survive, then a table; exit code 1 where one is not known to compute the same."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--per-module", type=int, default=12, help="mutants of each module")
    parser.add_argument("--only", nargs="+", default=[""], help="words in the names of modules")
    parser.add_argument("--verbose", action="store_true", help="name the test that kills each mutant")
    options = parser.parse_args()
    for library in LIBRARIES:
        importlib.import_module(library)
    gc.freeze()
    modules = [module for module in MODULES if any(word in module for word in options.only)]
    found = list(verdicts_on(modules, options))
    print(table(modules, found))
    sys.exit(any(not verdict.killed_by and not verdict.reason for verdict in found))


if __name__ == "__main__":
    main()
