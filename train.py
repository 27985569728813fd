"""Runs one chain of generations: ``python train.py experiment=paper_opt seed=3``."""

from modelcollapse.commands.run import train

if __name__ == "__main__":
    train()
