"""``python -m modelcollapse COMMAND``: the same as the installed script ``modelcollapse``."""

from modelcollapse.commands.subcommands import main

if __name__ == "__main__":
    main()
