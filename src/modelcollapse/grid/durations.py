"""Seconds as people say them."""


def spoken(seconds: float) -> str:
    """A duration in its one or two largest units: 45 s, 12 min, 3 h 20 min, 2 d 4 h."""
    whole = round(seconds)
    for limit, large, small in ((86400, "d", "h"), (3600, "h", "min")):
        if whole >= limit:
            part = {"h": 3600, "min": 60}[small]
            count, rest = divmod(whole, limit)
            return f"{count} {large} {rest // part} {small}"
    return f"{whole // 60} min" if whole >= 120 else f"{whole} s"
