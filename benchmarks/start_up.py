"""How long the first answer takes: settings as composed, help, mistakes, tab completion, beside bare Hydra programs.

    python benchmarks/start_up.py [--quick]

Two bare programs are what any Hydra program costs: one with two settings, and one that composes this project's own
configuration. Process CPU time, runs interleaved, medians; compiled modules are reused, as after a first run. Ratios
are to the bare program with two settings.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

TRAIN = str(Path(__file__).parents[1] / "train.py")
BARE = """
import hydra

@hydra.main(version_base="1.3", config_path={folder!r}, config_name="train")
def main(config):
    pass

main()
"""
ANSWERS = {
    "composed settings": ("--cfg", "job"),
    "composed experiment": ("experiment=paper_gmm", "--cfg", "job"),
    "help": ("--help",),
    "misspelt group": ("modle=vae",),
    "misspelt option": ("model=vea",),
    "misspelt setting": ("model.training.epocs=3",),
    "value not allowed": ("seed=x",),
}
COMPLETED = {"completion of options": "python train.py regime=", "completion of settings": "python train.py model.tr"}
IMPORTS = {"python alone": "pass", "import modelcollapse": "import modelcollapse"}
MOST_SECONDS = 0.1
"""That an import may take, and that composing may take more than a bare Hydra program."""
REPEATS, QUICK_REPEATS = 15, 1


def main() -> None:
    """Time all, and print milliseconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="each answer once")
    repeats = QUICK_REPEATS if parser.parse_args().quick else REPEATS
    with tempfile.TemporaryDirectory() as folder:
        seconds = _interleaved(_programs(Path(folder)), repeats, Path(folder))
    bare, *_ = seconds.values()
    print(f"CPU milliseconds, median of {repeats}")
    print(f"{'':34} {'ms':>5} {'ratio':>6}")
    for name, taken in seconds.items():
        print(f"{name:34} {1000 * taken:>5.0f} {taken / bare:>6.2f}")
    for name, longer, shorter in (
        ("import modelcollapse", *reversed(IMPORTS)),
        ("--cfg job beyond a bare Hydra program", "composed settings", "bare Hydra program"),
    ):
        found = seconds[longer] - seconds[shorter]
        verdict = "passed" if found <= MOST_SECONDS else "failed"
        print(f"{name}: {found:.3f} s, at most {MOST_SECONDS:g}: ratio {found / MOST_SECONDS:.2f}, {verdict}")


def _programs(folder: Path) -> dict[str, tuple[Sequence[str], Mapping[str, str]]]:
    """What is timed: a command and variables of its environment."""
    (folder / "train.yaml").write_text("name: bare\nseed: 0\n", encoding="utf-8")
    configurations = {"bare Hydra program": folder, "bare, with our configuration": Path(TRAIN).parent / "conf"}
    programs: dict[str, tuple[Sequence[str], Mapping[str, str]]] = {}
    for number, (name, configuration) in enumerate(configurations.items()):
        program = folder / f"bare_{number}.py"
        program.write_text(BARE.format(folder=str(configuration)), encoding="utf-8")
        programs[name] = ([str(program), "--cfg", "job"], {})
    programs |= {name: (["-c", code], {}) for name, code in IMPORTS.items()}
    programs |= {name: ([TRAIN, *arguments], {}) for name, arguments in ANSWERS.items()}
    for name, line in COMPLETED.items():
        variables = {"COMP_LINE": line, "COMP_POINT": str(len(line))}
        programs[name] = ([TRAIN, "-sc", "query=bash"], variables)
    return programs


def _interleaved(
    programs: Mapping[str, tuple[Sequence[str], Mapping[str, str]]], repeats: int, folder: Path
) -> dict[str, float]:
    """Median CPU seconds of every program; one repeat of all after another, after one that compiles modules."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment = {**kept, "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for repeat in range(repeats + 1):
        for name, (command, variables) in programs.items():
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(
                [sys.executable, *command],
                env={**environment, **variables},
                cwd=folder,
                capture_output=True,
                check=False,
            )
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            if repeat > 0:
                seconds[name].append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


if __name__ == "__main__":
    main()
