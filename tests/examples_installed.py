"""The package of ``examples``, built and installed beside the project; commands in processes that find it there."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

PATIENCE = 500
SESSION = """
import json, sys
from pathlib import Path
from conftest import run_command
from examples_installed import keys
here = Path.cwd()
for command, folder, overrides in json.loads(sys.argv[1]):
    places = [f"hydra.run.dir={here / folder}", f"hydra.sweep.dir={here / folder}"]
    finished = run_command([*overrides, *places], here, here / folder, command)
    assert finished.code == 0, finished.out + finished.err
    print(finished.out)
print(json.dumps([keys(overrides) for overrides in json.loads(sys.argv[2])]))
"""
KILLED = """
import os, signal, sys
left = int(sys.argv.pop(1))
def count(event, names):
    global left
    if event == "os.rename" and os.fspath(names[0]).startswith(os.path.abspath("store")):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(count)
from modelcollapse.commands.run import train
train()
"""
LOCKING = """
import json, sys
from modelcollapse.commands import code_lock
from modelcollapse.registry import registry
code = code_lock.main(["--package=collapse_examples", *json.loads(sys.argv[1])])
print(json.dumps([code, registry("losses")["poly"].identity()["digest"]]))
"""
COMPOSING = """
import sys
from modelcollapse.commands.run import train
try:
    train()
finally:
    print([name for name in ("torch", "numpy", "pandas", "transformers", "matplotlib", "wandb") if name in sys.modules])
"""


def keys(overrides):
    """The chain's id and the keys of all artifacts that the overrides declare."""
    from conftest import run_chain_of
    from modelcollapse.chain import chain_artifacts, chain_id

    chain = run_chain_of(overrides, Path("nowhere"), Path("nowhere"), execute=False)
    return [chain_id(chain.settings), *(artifact.key for artifact in chain_artifacts(chain.settings, chain.family))]


class Installed:
    """A folder where the examples are installed, and another to work in."""

    def __init__(self, examples, folder):
        self.site, self.folder = folder / "site", folder / "work"
        self.folder.mkdir(parents=True)
        source = shutil.copytree(examples, folder / "source", ignore=shutil.ignore_patterns("__pycache__"))
        # Without a network, as tests build the project's own wheel.
        options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--target", self.site]
        subprocess.run([sys.executable, "-m", "pip", "install", *options, source], check=True)

    def start(self, program, *arguments, code=0):
        """Run a program with the examples installed; what it printed."""
        paths = [self.site, Path(__file__).parent, *filter(None, [os.environ.get("PYTHONPATH")])]
        finished = subprocess.run(
            [sys.executable, "-c", program, *map(str, arguments)],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert finished.returncode == code, finished.stdout + finished.stderr
        return finished.stdout

    def session(self, *commands, declared=()):
        """Commands (train or sweep, folder, overrides) one after the other in one process; what they printed, and the
        keys of the chains that ``declared`` lists the overrides of.
        """
        *said, found = self.start(SESSION, json.dumps(commands), json.dumps(declared)).splitlines()
        return "\n".join(said), json.loads(found)

    def remove(self):
        """Uninstall the examples."""
        shutil.rmtree(self.site)
