"""What a synthetic set costs."""


def generated(generated_amount: int) -> float:
    """Tokens or images that a model generated for a set, with those that a selection did not keep."""
    return float(generated_amount)
