"""A metric of one's own: ``python shortest.py``, with all that train.py and sweep.py take."""

import torch

import modelcollapse as mc


@mc.metric("types_per_token", label="types per token", of="synthetic", version=1)
def types_per_token(tokens: torch.Tensor) -> float:  # [sequences, new tokens]
    """Share of the tokens of a synthetic set that are there for the first time."""
    return tokens.unique().numel() / tokens.numel()


if __name__ == "__main__":
    mc.main()
