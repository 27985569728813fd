"""Runs a grid of chains: ``python sweep.py experiment=paper_opt``."""

from modelcollapse.commands.run import sweep

if __name__ == "__main__":
    sweep()
