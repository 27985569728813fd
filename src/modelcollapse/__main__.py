"""``python -m modelcollapse``: the same as the installed script ``modelcollapse``."""

import os
import sys

if sys.path and sys.path[0] == os.getcwd():  # noqa: PTH109 - nothing may be imported yet
    # Python puts the working folder before the installed packages: a file torch.py in it would run.
    del sys.path[0]

from modelcollapse.commands.subcommands import main

if __name__ == "__main__":
    main()
