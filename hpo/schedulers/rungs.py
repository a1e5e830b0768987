"""The resources at which successive halving compares trials."""

from collections.abc import Sequence

_MOST_ETA = 1000
"""Far above all that makes sense, and far below what takes long to multiply."""


def rungs(epochs: int, grace: int = 1, eta: int = 3) -> tuple[int, ...]:
    """The resources at which successive halving compares trials: grace, grace * eta, ... below `epochs`, then `epochs`.

    By integer multiplication: a floor of logarithms loses the rung of 243 between 1 and 243 at eta 3.

    Raises:
        TypeError: grace or eta is no whole number.
        ValueError: grace is not within 1 to epochs, or eta not within 2 to 1,000.
    """
    for name, value in (("grace", grace), ("eta", eta)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} must be a whole number, got {value!r}")
    if not 1 <= grace <= epochs:
        raise ValueError(f"grace must be 1 to training.epochs ({epochs}), got {grace}")
    if eta < 2:
        raise ValueError(f"eta must be at least 2, got {eta}")
    if eta > _MOST_ETA:
        raise ValueError(f"eta must be at most {_MOST_ETA:,}, got {eta:,}"[:200])
    ladder = []
    rung = grace
    while rung < epochs:
        ladder.append(rung)
        rung *= eta
    return (*ladder, epochs)


def halvings(epochs: int) -> tuple[int, ...]:
    """The full resource halved, down to 2 at the least, and the full resource: 52 -> 3, 6, 13, 26, 52.

    For schedulers that decide anew at each rung and lose little by it. One epoch says little of the last.
    """
    ladder = [epochs]
    while ladder[0] // 2 >= 2:
        ladder.insert(0, ladder[0] // 2)
    return tuple(ladder)


def bracket_sizes(brackets: int, eta: int) -> tuple[int, ...]:
    """How many configs Hyperband starts in each bracket, the one with the most rungs first.

    Li et al. 2018, "Hyperband", algorithm 1: n_s = ceil((s_max + 1) / (s + 1) * eta^s), s being the bracket's halvings.
    """
    halvings = range(brackets - 1, -1, -1)
    return tuple(-(-brackets * eta**s // (s + 1)) for s in halvings)


def turns(sizes: Sequence[int]) -> tuple[int, ...]:
    """One cycle in which bracket b has `sizes[b]` turns, spread as evenly as they go."""
    total, taken, cycle = sum(sizes), [0] * len(sizes), []
    for turn in range(1, total + 1):
        due = [size * turn - total * had for size, had in zip(sizes, taken, strict=True)]
        bracket = due.index(max(due))
        taken[bracket] += 1
        cycle.append(bracket)
    return tuple(cycle)
