"""How much weight each forecaster has in an average, from what the backtests said of it. Pure.

A weight is inverse to a power of a model's mean error: of the squared errors as Bates and Granger (1969, "The
combination of forecasts", https://doi.org/10.1057/jors.1969.103) have it for errors that are not correlated,
and steeper where there are cut-offs enough to tell the models apart. Weights that are searched for, as those
of tables are (0013), did worse on series, of whose backtests there are few: decision 0020 has the figures.
"""

from __future__ import annotations

import numpy as np

MOST_MEMBERS = 5
"""A download holds each of them, and a forecast asks each of them."""
FEWEST_CUT_OFFS = 3
"""Below it errors say little of who is better."""
_POWER, _POWER_OF_FEW = 4.0, 2.0
_LEAST = 0.05
"""A smaller weight is none: it would not be worth a model in the download."""


def weights(losses: np.ndarray) -> np.ndarray:
    """(m,) weights that sum to 1, at most MOST_MEMBERS of them above 0.

    `losses`: (m, w), the error of each member at each cut-off, smaller is better, NaN where it is undefined.
    Equals keep their order.
    """
    defined = np.isfinite(losses).all(axis=0)
    mean = losses[:, defined].mean(axis=1) if defined.any() else np.ones(len(losses))
    kept = np.argsort(mean, kind="stable")[:MOST_MEMBERS]
    # one that was never wrong would have all the weight there is
    floor = max(1e-3 * float(mean.max()), 1e-300)
    power = _POWER if defined.sum() >= FEWEST_CUT_OFFS else _POWER_OF_FEW
    share = np.zeros(len(mean))
    share[kept] = (floor / np.maximum(mean[kept], floor)) ** power
    share /= share.sum()
    share[share < _LEAST] = 0.0
    return share / share.sum()


def crossed(losses: np.ndarray) -> np.ndarray:
    """(w, m): for each cut-off the weights that all others give."""
    windows = losses.shape[1]
    if windows < 2:
        return np.tile(weights(losses), (windows, 1))
    return np.stack([weights(np.delete(losses, nth, axis=1)) for nth in range(windows)])
