"""The special functions the tests need, without scipy: normal, chi-square, Student t, beta, Kolmogorov.

Continued fractions and series follow Press et al., *Numerical Recipes* (3rd ed., sections 6.2 and 6.4);
the results agree with scipy to about 1e-10 (see the tests).
"""

import functools
import math
from collections.abc import Callable
from statistics import NormalDist

_TINY = 1e-300
_EPS = 1e-15
_DIGIT = 2.0**-52
_NORMAL = NormalDist()


def normal_cdf(z: float) -> float:
    """P(Z <= z) for a standard normal Z.

    >>> round(normal_cdf(1.96), 4)
    0.975
    """
    return 0.5 * math.erfc(-z / math.sqrt(2))


def normal_sf(z: float) -> float:
    """P(Z > z), accurate far in the tail where ``1 - normal_cdf(z)`` is not.

    >>> f"{normal_sf(10):.3e}"
    '7.620e-24'
    """
    return 0.5 * math.erfc(z / math.sqrt(2))


def normal_quantile(p: float) -> float:
    """The z with P(Z <= z) = p, for 0 < p < 1.

    >>> round(normal_quantile(0.975), 4)
    1.96
    """
    if not 0 < p < 1:
        raise ValueError(f"p must lie strictly between 0 and 1, not {p}")
    return _NORMAL.inv_cdf(p)


def gamma_q(a: float, x: float) -> float:
    """Upper regularised incomplete gamma function Q(a, x), for a > 0 and x >= 0.

    >>> round(gamma_q(1, 2), 6) == round(math.exp(-2), 6)
    True
    """
    if not (a > 0 and x >= 0):
        raise ValueError(f"gamma_q needs a > 0 and x >= 0, not a={a}, x={x}")
    if x == 0:
        return 1.0
    if math.isinf(x):
        return 0.0
    front = math.exp(a * math.log(x) - x - math.lgamma(a))
    if x < a + 1:
        return max(0.0, 1.0 - front * _gamma_series(a, x))
    return min(1.0, front * _gamma_fraction(a, x))


def _gamma_series(a: float, x: float) -> float:
    term = total = 1.0 / a
    n = a
    while abs(term) > abs(total) * _EPS:
        n += 1
        term *= x / n
        total += term
    return total


def _gamma_fraction(a: float, x: float) -> float:
    b = x + 1 - a
    c = 1 / _TINY
    d = 1 / b
    h = d
    i = 1
    while True:
        an = -i * (i - a)
        b += 2
        d = 1 / _nonzero(an * d + b)
        c = _nonzero(b + an / c)
        delta = d * c
        h *= delta
        if abs(delta - 1) < _EPS * 10:
            return h
        i += 1


def beta_cdf(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta function I_x(a, b): P(B <= x) for B ~ Beta(a, b).

    >>> round(beta_cdf(0.5, 2, 2), 12)
    0.5
    """
    if not (a > 0 and b > 0 and 0 <= x <= 1):
        raise ValueError(f"beta_cdf needs a, b > 0 and 0 <= x <= 1, not a={a}, b={b}, x={x}")
    if x in (0.0, 1.0):
        return x
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    # The fraction converges fast only on one side of the mean; the other side follows by symmetry.
    if x < (a + 1) / (a + b + 2):
        return front * _beta_fraction(a, b, x) / a
    return 1.0 - front * _beta_fraction(b, a, 1 - x) / b


def _beta_fraction(a: float, b: float, x: float) -> float:
    c = 1.0
    d = 1 / _nonzero(1 - (a + b) * x / (a + 1))
    h = d
    m = 1
    while True:
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / _nonzero(1 + even * d)
        c = _nonzero(1 + even / c)
        h *= d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 / _nonzero(1 + odd * d)
        c = _nonzero(1 + odd / c)
        delta = d * c
        h *= delta
        if abs(delta - 1) < _EPS * 10:
            return h
        m += 1


def _nonzero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def beta_quantile(p: float, a: float, b: float) -> float:
    """The x with I_x(a, b) = p, by bracketing.

    >>> round(beta_quantile(0.5, 2, 2), 10)
    0.5
    """
    if not 0 <= p <= 1:
        raise ValueError(f"p must lie in [0, 1], not {p}")
    return _root(lambda x: beta_cdf(x, a, b) - p, 0.0, 1.0)


def chi2_sf(x: float, df: float) -> float:
    """P(X > x) for a chi-square X with ``df`` > 0 degrees of freedom.

    >>> round(chi2_sf(3.841458820694124, 1), 10)
    0.05
    """
    return gamma_q(df / 2, max(x, 0.0) / 2)


def t_sf(t: float, df: float) -> float:
    """P(T > t) for a Student T with ``df`` > 0 degrees of freedom (need not be whole).

    >>> round(t_sf(2.085963447265837, 20), 10)
    0.025
    """
    if not df > 0:
        raise ValueError(f"df must be positive, not {df}")
    if math.isinf(t):
        return 0.0 if t > 0 else 1.0
    square = t * t
    # Two forms of one probability: each argument keeps its digits only on its own side of t = sqrt(df).
    if square < df:
        tail = 0.5 * (1 - beta_cdf(square / (df + square), 0.5, df / 2))
    else:
        tail = 0.5 * beta_cdf(df / (df + square), df / 2, 0.5)
    return tail if t >= 0 else 1.0 - tail


@functools.lru_cache(maxsize=4096)
def t_quantile(p: float, df: float) -> float:
    """The t with P(T <= t) = p, for 0 < p < 1.

    >>> round(t_quantile(0.975, 20), 6)
    2.085963
    """
    if not 0 < p < 1:
        raise ValueError(f"p must lie strictly between 0 and 1, not {p}")
    if p == 0.5:
        return 0.0
    tail = min(p, 1 - p)
    high = 1.0
    while t_sf(high, df) > tail:
        high *= 2
    value = _root(lambda t: tail - t_sf(t, df), 0.0, high)
    return value if p > 0.5 else -value


def kolmogorov_sf(x: float) -> float:
    """P(K > x), the limit law of sqrt(nm/(n+m)) max|F-G| (Kolmogorov 1933, Smirnov 1939).

    >>> round(kolmogorov_sf(1.3581), 4)
    0.05
    """
    if x < 0.04:  # 1 to the last digit, and below it the series would divide by zero
        return 1.0
    if x < 1.18:  # the two series meet here: each needs only a few terms on its side
        scale = math.pi**2 / (8 * x * x)
        terms = sum(math.exp(-((2 * k - 1) ** 2) * scale) for k in range(1, 6))
        return min(1.0, max(0.0, 1.0 - math.sqrt(2 * math.pi) / x * terms))
    return 2.0 * sum(math.copysign(math.exp(-2 * k * k * x * x), k % 2 - 0.5) for k in range(1, 6))


def _root(rising: Callable[[float], float], low: float, high: float) -> float:
    """The root of a rising function between ``low`` and ``high``, to about the last digit.

    Bisection that interpolates where the last three points look smooth enough (Chandrupatla 1997): about ten calls instead of
    fifty.
    """
    near, at_near = low, rising(low)
    far, at_far = high, rising(high)
    if 0 in (at_near, at_far):
        return low if at_near == 0 else high
    share = 0.5
    while True:
        x = near + share * (far - near)
        at_x = rising(x)
        if (at_x < 0) == (at_near < 0):
            third, at_third = near, at_near
        else:
            third, at_third = far, at_far
            far, at_far = near, at_near
        near, at_near = x, at_x
        best, at_best = (near, at_near) if abs(at_near) < abs(at_far) else (far, at_far)
        limit = (_DIGIT * abs(best) + _TINY) / abs(far - near)
        if limit > 0.5 or at_best == 0:
            return best
        across = (near - far) / (third - far)
        up = (at_near - at_far) / (at_third - at_far)
        share = 0.5
        if up * up < across and (1 - up) ** 2 < 1 - across:
            share = at_near / (at_far - at_near) * at_third / (at_far - at_third) + (third - near) / (
                far - near
            ) * at_near / (at_third - at_near) * at_far / (at_third - at_far)
        share = min(1 - limit, max(limit, share))
