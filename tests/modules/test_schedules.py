import math

import pytest

from skvae.training.schedules import SCHEDULES, constant, cosine


def test_the_cosine_rises_over_a_tenth_and_falls_to_zero():
    assert cosine(0.05) == pytest.approx(0.5 * (1 + math.cos(0.05 * math.pi)) / 2)
    assert cosine(0.1) > 0.97
    assert cosine(0.5) == pytest.approx(0.5)
    assert cosine(1.0) == pytest.approx(0)


def test_the_constant_stays():
    assert constant(0.0) == constant(1.0) == 1


def test_the_registry_has_both():
    assert dict(SCHEDULES) == {"cosine": cosine, "constant": constant}
