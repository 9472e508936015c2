"""Probabilities from the logits of a fitted head, in an order that survives rounding to float64."""

from __future__ import annotations

import numpy as np
import scipy

from etab.types import FloatArray

# Beyond this log-odds float64 soon cannot distinguish a probability from 1 (1 - exp(-37) is 1).
_NEAR_ONE = 25.0
# Below minus this log-odds a probability underflows.
_NEAR_ZERO = 700.0


def probability(log_odds: FloatArray) -> FloatArray:
    """Turn log-odds into probabilities so that different log-odds stay different.

    This is the logistic function for log-odds from -700 to 25. Beyond that, where float64 would
    round different probabilities to the same number, the distance to 1 (or to 0) falls as ``1 /
    log_odds`` instead of exponentially. Probabilities differ from the logistic function by less
    than 2e-11, and a ranking (AUROC) keeps its order.

    Args:
        log_odds: Any shape, in nats. Infinite values give 0 and 1.

    Returns:
        Probabilities in [0, 1], float64, of the same shape.

    Example:
        >>> import numpy as np
        >>> first, second = probability(np.array([40.0, 41.0]))
        >>> bool(first < second < 1)
        True
    """
    x = np.asarray(log_odds, dtype=np.float64)
    p = np.asarray(scipy.special.expit(x))
    high = x > _NEAR_ONE
    low = x < -_NEAR_ZERO
    p[high] = 1 - scipy.special.expit(-_NEAR_ONE) * _NEAR_ONE / x[high]
    p[low] = scipy.special.expit(-_NEAR_ZERO) * _NEAR_ZERO / -x[low]
    return p


def class_probabilities(logits: FloatArray) -> FloatArray:
    """Turn class logits into probabilities: the softmax, whose near-certain values stay apart.

    Args:
        logits: (..., classes), at least two classes.

    Returns:
        (..., classes) probabilities, float64. They sum to 1 within 1e-10.

    Example:
        >>> import numpy as np
        >>> class_probabilities(np.array([[0.0, 0.0], [0.0, np.log(3)]])).round(4).tolist()
        [[0.5, 0.5], [0.25, 0.75]]
    """
    z = np.asarray(logits, dtype=np.float64)
    n = z.shape[-1]
    others = [scipy.special.logsumexp(np.delete(z, k, axis=-1), axis=-1) for k in range(n)]
    return probability(z - np.stack(others, axis=-1))
