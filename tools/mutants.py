"""Changes modules that compute numbers, one small change at a time, and says which changes no test notices.

    make mutants                                      a sample of every module
    make mutants ARGS="--only seeding --seed 1"       another sample, of the modules whose names hold a word
    make mutants ARGS="--per-module 1000 --only possible"   all of a module

A mutant is a module with one change (:mod:`mutations`); it is killed by the first test that fails on it. Those that
survive are listed; ``mutants_equivalent.toml`` names the ones that compute the same, each with the reason.

Each mutant is a process forked from one that has imported the libraries. The module is changed as it is imported and
not on disk, so that no test fails because digests notice an edit: only behaviour kills. The tests that run the changed
line come first, the fastest of them in front, as a traced run of the tests as they are has shown. A mutant has several
times the processor time of those; one that is stopped there counts as killed.

Why not mutmut or cosmic-ray: both change files, which the digests of the code notice, start a process with its six
seconds of imports for each mutant or run all tests of the project, and know nothing of Numba's cache of compiled loops,
which would go on running the unchanged ones. cosmic-ray also needs SQLAlchemy and twelve more packages.
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
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import FrameType
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
"""A mutant's processor time: so many seconds, and so many times those of the tests on the module as it is."""
WAITING = 300
"""Seconds after which a test that only waits has failed."""

MODULES: dict[str, tuple[str, ...]] = {
    "seeding": ("test_seeding.py",),
    "report/statistics": ("report/test_statistics.py",),
    "report/possible": ("report/test_statistics.py",),
    "metrics/diversity": ("metrics/test_diversity.py",),
    "metrics/distribution": ("metrics/test_distribution.py",),
    "metrics/images": ("metrics/test_image_metrics.py",),
    "metrics/likelihood": ("metrics/test_likelihood.py",),
    "metrics/means": ("metrics/test_likelihood.py",),
    "families/gaussian/theory": ("families/test_theory.py", "families/test_gaussian.py"),
    "families/gaussian/estimator": ("families/test_gaussian.py",),
    "families/discrete/theory": ("families/test_theory.py", "families/test_discrete.py"),
    "families/discrete/estimator": ("families/test_discrete.py",),
    "families/language_model/losses": ("families/test_linear_cross_entropy.py",),
    "families/gaussian_mixture/distances": ("families/test_gaussian_mixture_distances.py",),
    "data/blocks": ("data/test_blocks.py",),
    "regimes/shares": ("regimes/test_composition.py",),
    "regimes/rows": ("regimes/test_composition.py",),
    "regimes/reserve": ("regimes/test_composition.py",),
    "regimes/availability": ("regimes/test_composition.py",),
    "regimes/composition": ("regimes/test_composition.py", "regimes/test_general.py", "regimes/test_rules.py"),
    "regimes/settings": ("regimes/test_composition.py", "regimes/test_general.py", "regimes/test_rules.py"),
    "regimes/rules": ("regimes/test_composition.py", "regimes/test_general.py", "regimes/test_rules.py"),
    "store/artifacts": ("store/test_keys.py", "store/test_making.py"),
    "store/manifest": ("store/test_keys.py", "store/test_making.py", "store/test_damaged_artifacts.py"),
    "store/claims": ("record/test_claims.py",),
    "decoding/native/search": ("decoding/test_beam_search.py", "decoding/test_native_engine.py"),
    "decoding/native/beam_search": ("decoding/test_beam_search.py", "decoding/test_native_engine.py"),
    "decoding/native/sampling": ("decoding/test_native_engine.py", "decoding/test_engines.py"),
    "decoding/native/history": ("decoding/test_native_engine.py", "decoding/test_engines.py"),
    "record/comparison": ("commands/test_compare.py",),
    "families/gaussian_mixture/clustering": ("families/test_mixture_kernels.py", "families/test_mixture.py"),
    "families/gaussian_mixture/expectation_maximisation": ("families/test_mixture.py",),
    "families/gaussian_mixture/kernels": ("families/test_mixture_kernels.py", "families/test_mixture.py"),
    "families/gaussian_mixture/estimator": ("families/test_mixture.py",),
}
"""Module -> its tests."""


@dataclass
class Baseline:
    """Tests on the modules as they are."""

    seconds: dict[str, float] = field(default_factory=dict)
    """Test -> how long it takes."""
    lines: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    """Test -> module -> its lines that the test runs."""
    processor_seconds: float = 0


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant."""

    mutation: Mutation
    killed_by: str | None
    """A test, or how else it ended; None where it survived."""
    reason: str | None = None
    """Why it computes the same, where somebody has written that down."""


# ---- in the process of one mutant ------------------------------------------------------------------------------------


class MutatingLoader(importlib.machinery.SourceFileLoader):
    """Loads a module from its file, changed."""

    def __init__(self, name: str, path: str, mutation: Mutation) -> None:
        super().__init__(name, path)
        self._mutation = mutation

    def get_code(self, fullname: str) -> Any:
        """The code of the changed module."""
        source = Path(self.path).read_text(encoding="utf-8")
        return compile(mutated(source, self._mutation), self.path, "exec", dont_inherit=True)


class MutatingFinder(importlib.abc.MetaPathFinder):
    """Finds one module by its mutating loader."""

    def __init__(self, module: str, mutation: Mutation) -> None:
        self._module, self._mutation = module, mutation

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        """The specification of the module; of all others none."""
        if fullname != f"{PACKAGE}.{self._module.replace('/', '.')}":
            return None
        file = file_of(self._module)
        loader = MutatingLoader(fullname, str(file), self._mutation)
        return importlib.util.spec_from_file_location(fullname, file, loader=loader)


class FirstFailure:
    """Runs the tests of a line before all others, the fastest first, and notes the first that fails."""

    def __init__(self, baseline: Baseline, module: str, line: int) -> None:
        self._baseline, self._module, self._line = baseline, module, line
        self.test: str | None = None

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Order the tests."""
        items.sort(key=lambda item: (self._is_elsewhere(item.nodeid), self._baseline.seconds.get(item.nodeid, 0)))

    def _is_elsewhere(self, test: str) -> bool:
        return self._line not in self._baseline.lines.get(test, {}).get(self._module, ())

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a failure."""
        if report.failed and self.test is None:
            self.test = report.nodeid


class Tracer:
    """Notes which lines of some modules each test runs, with its fixtures, and how long it takes."""

    def __init__(self, modules: Sequence[str]) -> None:
        self._modules = {str(file_of(module)): module for module in modules}
        self._lines: dict[str, set[int]] = {}
        self.seconds: dict[str, float] = {}
        self.lines: dict[str, dict[str, list[int]]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Trace a test."""
        start, self._lines = time.process_time(), {module: set() for module in self._modules.values()}
        sys.settrace(self._trace)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            self.seconds[item.nodeid] = time.process_time() - start
            self.lines[item.nodeid] = {module: sorted(lines) for module, lines in self._lines.items()}

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        module = self._modules.get(frame.f_code.co_filename)
        if module is None:
            return None
        lines = self._lines[module]

        def trace_line(frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
            lines.add(frame.f_lineno)
            return trace_line

        return trace_line


def file_of(module: str) -> Path:
    """Where a module's source is."""
    return REPOSITORY / "src" / PACKAGE / f"{module}.py"


def pytest_in(place: Path, tests: Sequence[str], plugin: object) -> int:
    """Run tests until the first failure; pytest's exit code."""
    options = [
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        f"--timeout={WAITING}",
        f"--basetemp={place / 'tests'}",
    ]
    return int(pytest.main([*options, *(str(REPOSITORY / "tests" / test) for test in tests)], plugins=[plugin]))


def trace(tests: Sequence[str], modules: Sequence[str], place: Path) -> Mapping[str, Any]:
    """Lines and seconds of the tests."""
    tracer = Tracer(modules)
    code = pytest_in(place, tests, tracer)
    return {"failed": code and f"code {code}", "seconds": tracer.seconds, "lines": tracer.lines}


def run_tests(tests: Sequence[str], baseline: Baseline, place: Path) -> Mapping[str, Any]:
    """Whether the tests fail in the order of how long they take, and how long all of them take."""
    code = pytest_in(place, tests, FirstFailure(baseline, "", 0))
    return {"failed": code and f"code {code}", "processor_seconds": time.process_time()}


def run_mutant(module: str, mutation: Mutation, baseline: Baseline, place: Path) -> Mapping[str, Any]:
    """The first test that fails where the module is changed."""
    sys.meta_path.insert(0, MutatingFinder(module, mutation))
    if "@compiled" in file_of(module).read_text(encoding="utf-8"):
        import numba

        numba.config.CACHE_DIR = str(place / "compiled")
    first = FirstFailure(baseline, module, mutation.line)
    code = pytest_in(place, MODULES[module], first)
    return {"failed": first.test or (code and "the import") or None}


# ---- in the process that forks ---------------------------------------------------------------------------------------


def forked(function: Callable[[Path], Mapping[str, Any]], limit: float) -> dict[str, Any]:
    """What a function returns in a process of its own, with a folder and limited processor time."""
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
    output = (place / "output").read_text(errors="replace")
    shutil.rmtree(place, ignore_errors=True)
    return {**found, "output": output[-2000:]}


def _be_child(function: Callable[[Path], Mapping[str, Any]], place: Path, limit: float) -> None:
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CPU, (int(limit), int(limit) + 5))
    output = os.open(place / "output", os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(output, stream)
    try:
        (place / "found.json").write_text(json.dumps(function(place)))
    except BaseException:  # whatever a mutant raises, it must not go on as its parent
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(0)


@cache
def baseline_of(tests: tuple[str, ...]) -> Baseline:
    """Tests on the modules as they are: traced, and once more in the order in which mutants meet them.

    Raises RuntimeError where they fail.
    """
    modules = [module for module in MODULES if MODULES[module] == tests]
    traced = _passed(tests, forked(lambda place: trace(tests, modules, place), 3600))
    baseline = Baseline(traced["seconds"], traced["lines"])
    again = _passed(tests, forked(lambda place: run_tests(tests, baseline, place), 3600))
    baseline.processor_seconds = again["processor_seconds"]
    return baseline


def _passed(tests: Sequence[str], found: dict[str, Any]) -> dict[str, Any]:
    if found["failed"]:
        raise RuntimeError(f"{' '.join(tests)} fail on the code as it is: {found['failed']}\n{found['output']}")
    return found


def verdict_on(module: str, mutation: Mutation, baseline: Baseline) -> Verdict:
    """Whether the tests of a module kill a mutant of it."""
    limit = SECONDS + TIMES * baseline.processor_seconds
    found = forked(lambda place: run_mutant(module, mutation, baseline, place), limit)
    return Verdict(mutation, found["failed"])


# ---- all of it -------------------------------------------------------------------------------------------------------


def known_equivalents() -> Mapping[tuple[str, str, str], str]:
    """Module, lines before and lines after -> why both compute the same."""
    entries = tomllib.loads(EQUIVALENTS.read_text(encoding="utf-8"))["mutant"]
    return {(entry["module"], entry["before"], entry["after"]): entry["reason"] for entry in entries}


def verdicts(module: str, seed: int, count: int) -> Iterator[Verdict]:
    """Verdicts on a sample of the mutants of a module; those known to be equivalent are not run."""
    every = mutations(file_of(module).read_text(encoding="utf-8"))
    sample = random.Random(f"{seed} {module}").sample(every, min(count, len(every)))
    reasons = known_equivalents()
    baseline = baseline_of(MODULES[module])
    print(f"{module}: {len(sample)} of {len(every)} mutants; tests {baseline.processor_seconds:.0f} s", flush=True)
    for mutation in sample:
        reason = reasons.get((module, mutation.before, mutation.after))
        yield Verdict(mutation, None, reason) if reason else verdict_on(module, mutation, baseline)


def shown(module: str, verdict: Verdict) -> str:
    """A mutant as lines of a difference."""
    mutation = verdict.mutation
    return f"{module}.py:{mutation.line}\n  - {mutation.before}\n  + {mutation.after}"


def row(module: str, found: Sequence[Verdict]) -> str:
    """A row of the table: module, mutants seen, killed, equivalent, survived."""
    numbers = Counter(
        "killed" if verdict.killed_by else "equivalent" if verdict.reason else "survived" for verdict in found
    )
    kinds = ("killed", "equivalent", "survived")
    return f"| {' | '.join([f'`{module}`', str(len(found)), *(str(numbers[kind]) for kind in kinds)])} |"


def main() -> None:
    """Print what became of each mutant, then a table; exit code 1 where one survived that is not known to be equal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--per-module", type=int, default=12, help="mutants of each module")
    parser.add_argument("--only", nargs="+", default=[""], help="words in the names of modules")
    parser.add_argument("--verbose", action="store_true", help="name the test that kills each mutant")
    arguments = parser.parse_args()
    for library in LIBRARIES:
        importlib.import_module(library)
    gc.freeze()
    rows, survivors = [], 0
    for module in (module for module in MODULES if any(word in module for word in arguments.only)):
        found = []
        for verdict in verdicts(module, arguments.seed, arguments.per_module):
            found.append(verdict)
            if verdict.killed_by is None and verdict.reason is None:
                survivors += 1
                print(f"SURVIVED {shown(module, verdict)}", flush=True)
            elif arguments.verbose:
                print(f"{verdict.killed_by or verdict.reason}: {shown(module, verdict)}", flush=True)
        rows.append((module, found))
        print(row(module, found), flush=True)
    print("\n| module | mutants | killed | equivalent | survived |\n|---|---|---|---|---|")
    print("\n".join(row(module, found) for module, found in rows))
    print(row("all", [verdict for _, found in rows for verdict in found]))
    sys.exit(1 if survivors else 0)


if __name__ == "__main__":
    main()
