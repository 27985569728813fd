"""Which generations of a long chain are shown one by one."""


def shown_generations(last: int, most: int = 20) -> set[int]:
    """All of 0 .. ``last`` where they are at most ``most``; else at most so many, evenly on a logarithmic scale.

    The first and the last are always among them. ``most`` is at least 2.
    """
    if last < most:
        return set(range(last + 1))
    ratio = (last + 1) ** (1 / (most - 1))
    return {round(ratio**step) - 1 for step in range(most)}
