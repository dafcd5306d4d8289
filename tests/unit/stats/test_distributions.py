"""The special functions agree with scipy, also far in the tails."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special
from scipy import stats as reference

from everloop.stats import distributions as ours

DEGREES = st.one_of(st.integers(1, 2000).map(float), st.floats(0.5, 300))


def close(mine: float, theirs: float) -> bool:
    return math.isclose(mine, float(theirs), rel_tol=1e-8, abs_tol=1e-12)


@given(st.floats(-30, 30))
def test_normal(z: float) -> None:
    assert close(ours.normal_cdf(z), reference.norm.cdf(z))
    assert math.isclose(ours.normal_sf(z), float(reference.norm.sf(z)), rel_tol=1e-9)


@given(st.floats(1e-9, 1 - 1e-9))
def test_normal_quantile_is_the_inverse_of_the_cdf(p: float) -> None:
    assert close(ours.normal_cdf(ours.normal_quantile(p)), p)


@given(st.floats(0, 4000), DEGREES)
def test_chi2(x: float, df: float) -> None:
    assert close(ours.chi2_sf(x, df), reference.chi2.sf(x, df))


@given(st.floats(-60, 60), DEGREES)
def test_student(t: float, df: float) -> None:
    assert close(ours.t_sf(t, df), reference.t.sf(t, df))


@given(st.floats(1e-6, 1 - 1e-6), st.floats(1, 2000))
def test_student_quantile(p: float, df: float) -> None:
    assert math.isclose(ours.t_quantile(p, df), float(reference.t.ppf(p, df)), rel_tol=1e-7, abs_tol=1e-9)


@given(st.floats(0, 1), st.floats(0.1, 3000), st.floats(0.1, 3000))
def test_beta(x: float, a: float, b: float) -> None:
    assert close(ours.beta_cdf(x, a, b), special.betainc(a, b, x))


@given(st.floats(0.001, 0.999), st.floats(0.5, 500), st.floats(0.5, 500))
def test_beta_quantile(p: float, a: float, b: float) -> None:
    assert close(ours.beta_quantile(p, a, b), special.betaincinv(a, b, p))


@given(st.floats(0, 8))
def test_kolmogorov(x: float) -> None:
    assert close(ours.kolmogorov_sf(x), special.kolmogorov(x))


@pytest.mark.parametrize(
    "call",
    [
        lambda: ours.normal_quantile(0),
        lambda: ours.normal_quantile(1),
        lambda: ours.t_quantile(1.5, 3),
        lambda: ours.t_sf(1, 0),
        lambda: ours.chi2_sf(1, -1),
        lambda: ours.gamma_q(1, -1),
        lambda: ours.beta_cdf(2, 1, 1),
        lambda: ours.beta_quantile(-0.1, 1, 1),
    ],
)
def test_arguments_outside_the_domain_are_refused(call) -> None:
    with pytest.raises(ValueError, match=r"must|needs"):
        call()
