"""Numbers and formulas as people write them, held against math-verify, and texts that would keep it busy for ever."""

from __future__ import annotations

import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness.core import Example
from tasks.scoring import math_equal


def equal(reply: str, gold: str) -> bool:
    """Our verdict."""
    return math_equal(reply, Example(id="x", question="?", answers=(gold,))) == 1


def reference(reply: str, gold: str) -> bool:
    """The verdict of math-verify itself."""
    from math_verify import parse, verify

    one, other = (parse(f"${text}$", parsing_timeout=None) for text in (gold, reply))
    return bool(one and other and verify(one, other, timeout_seconds=None))


NUMBER = st.integers(1, 12).map(str) | st.sampled_from(["2.5", "0.75", r"\pi", r"2\pi", "144"])
FORMULA = st.recursive(
    NUMBER,
    lambda part: st.one_of(
        part.map(lambda one: rf"\sqrt{{{one}}}"),
        st.tuples(part, part).map(lambda two: rf"\frac{{{two[0]}}}{{{two[1]}}}"),
        st.tuples(part, part, st.sampled_from([" + ", "-", r" \cdot ", r"\times "])).map(
            lambda two: f"{two[0]}{two[2]}{two[1]}"
        ),
        st.tuples(st.integers(2, 9), part).map(lambda two: rf"{two[0]}\sqrt{{{two[1]}}}"),
    ),
    max_leaves=3,
)
WRITTEN = (
    "{}", "AB = {}", "x={}", r"m\angle B = {}", r"\angle ABC = {}", r"\overline{{AB}} = {}", r"\approx {}",
    r"x \approx {}", r"{}\text{{ cm}}^2", r"{}\text{{ cm}}", "{} inches", "{} feet", "{} square units", "{} cm",
    r"{}\mathrm{{~cm}}", r"{} \text{{ degrees}}",
)  # fmt: skip


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(formula=FORMULA, gold=FORMULA, written=st.sampled_from(WRITTEN), same=st.booleans())
def test_formulas_with_names_and_units_are_what_math_verify_says(formula, gold, written, same) -> None:
    gold = formula if same else gold
    # Before a root or a fraction math-verify reads "approx" as a factor.
    assume("approx" not in written or formula.replace(".", "").isdigit())
    reply = written.format(formula)
    assert equal(reply, gold) == reference(reply, gold), (reply, gold)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(a=st.integers(1, 99), b=st.integers(1, 99), c=st.integers(1, 9), gold=st.sampled_from(["7", r"\frac{1}{2}"]))
def test_other_ways_to_write_a_number_are_what_math_verify_says(a, b, c, gold) -> None:
    replies = [
        rf"\frac{{\sqrt{c}}}{c}", rf"\frac{a % 10}{c}", rf"{a}^\circ", rf"{a}^{{\circ}}", f"{a}%", rf"{a}\%",
        f"{a}{{,}}{b + 100}", f"{a},{b + 100}", f"\u2212{a}", f"-{a}", rf"\left({a}\right)", f"|{a}|", f"{a}:{b}",
        f"{a}/{b}", f"{a}.0", f"({a}+{c})^2", rf"\sqrt[3]{{{a}}}", rf"{a}\frac{c}{b % 9 + 1}",
        rf"{a}^\circ - {c}^\circ",
    ]  # fmt: skip
    for reply in replies:
        for wanted in (gold, str(a), f"-{a}", rf"\frac{{{a}}}{{{b}}}"):
            # A percentage is read as its number; math-verify takes its hundredth too.
            hundredth = "%" in reply and a == 50 and wanted == r"\frac{1}{2}"
            assert equal(reply, wanted) == (reference(reply, wanted) and not hundredth), (reply, wanted)


@pytest.mark.parametrize(
    ("reply", "gold"),
    [("AB = 18", "18"), (r"m\angle B = 18^\circ", "18"), ("18 inches", "18"), (r"18\text{ cm}^2", "18"),
     ("12{,}500", "12500"), (r"\frac{\sqrt3}2", r"\frac{\sqrt{3}}{2}"), (r"\approx 5.2", "5.2"), ("\u22125", "-5"),
     ("18 cm^2", "18"), ("**18**", "18"), (r"\(18\)", "18"), ("m∠1 = 18°", "18"), ("area = 18 sq. ft", "18"),
     ("x_1 = 18", "18"), ("\uff11\uff18", "18")],
)  # fmt: skip
def test_the_gold_number_in_other_dress(reply: str, gold: str) -> None:
    assert equal(reply, gold)
    assert not equal(reply, "3")


@pytest.mark.parametrize(
    "reply",
    ["8 = 7", "7 = 8", "x = 7, y = 8", "7 or 8", "7 = 7 = 7", "about 7", "not 7", "7 apples", r"7 \pm 2", "x < 7",
     "7 cm 8", "AB = ", "= = 7", r"7\text{ cm", "7 cm cm", "9^{9^{9}}", "9^9^9", r"\pi^{99}", r"(2+\sqrt{3})^{99}",
     "9" * 90 + "^{99}^{99}", "99999999!", "7" * 200, r"\sqrt{" * 30 + "7" + "}" * 30, "(" * 40 + "8" + ")" * 40],
)  # fmt: skip
def test_what_is_not_seven_is_soon_known(reply: str) -> None:
    start = time.perf_counter()
    assert not equal(reply, "7")
    assert time.perf_counter() - start < 5


ROOTS = st.recursive(
    st.integers(2, 99).map(str) | st.tuples(st.integers(2, 99), st.integers(2, 99)).map(lambda n: f"{n[0]}^{{{n[1]}}}"),
    lambda part: st.tuples(part, part).flatmap(
        lambda two: st.sampled_from(
            [rf"\sqrt[3]{{{two[0]}+{two[1]}}}", rf"({two[0]})^3", rf"\frac{{{two[0]}}}{{\sqrt{{{two[1]}}}}}"]
        )
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=5000)
@given(formula=ROOTS, gold=st.sampled_from(["7", r"5\sqrt{3}", r"12\pi"]))
def test_no_formula_keeps_the_scorer_busy(formula: str, gold: str) -> None:
    equal(formula, gold)


def test_math_verify_simplifies_no_difference_of_values_that_are_clearly_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    import math_verify

    monkeypatch.setattr(math_verify, "verify", lambda *_, **__: pytest.fail("asked"))
    assert not equal(r"(1+\sqrt{2}+\sqrt{3}+\sqrt{5}+\sqrt{7}+\sqrt{11})^3", r"5\sqrt{3}")
    assert not equal(r"\frac{7}{0}", r"\frac{1}{2}")
