"""``python -m modelcollapse COMMAND``: what there is beside train.py and sweep.py."""

import sys

from modelcollapse.commands.subcommands import run

if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
