"""Values that match several patterns at once: each example does, and that there are none is said only if it is so."""

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from teleport.access.choices import Choices, OneOf, choices
from teleport.access.patterns import Matcher, pattern

WRITTEN = st.one_of(
    st.text("ab*", min_size=1, max_size=4), st.sampled_from(["^a+$", "^(a|bb)$", "^[ab]{2}$", "^.*b$", "^$", "*"])
)
DEMANDS = st.lists(st.lists(WRITTEN, max_size=3), min_size=1, max_size=3)
TEXTS = ["".join(chars) for size in range(4) for chars in product("ab", repeat=size)]


def one_of(*written: str) -> OneOf:
    return OneOf(tuple(map(_pattern, written)))


def _pattern(written: str) -> Matcher:
    return pattern(written)


@given(DEMANDS, DEMANDS, st.none() | st.lists(st.sampled_from(TEXTS), max_size=4))
def test_examples_fit_and_nothing_fits_where_it_is_said_that_nothing_does(
    demanded: list[list[str]], shunned: list[list[str]], bound: list[str] | None
) -> None:
    demands = [one_of(*some) for some in demanded]

    found = choices(demands, bound=bound, shunned=[one_of(*some) for some in shunned])

    fitting = [text for text in (TEXTS if bound is None else bound) if all(one.matches(text) for one in demands)]
    assert all(one.matches(value) for value in found.values for one in demands)
    assert bound is None or set(found.values) <= set(bound)
    assert not found.none or not fitting
    assert found.open or set(fitting) <= set(found.values)


@given(st.lists(WRITTEN, max_size=3), st.lists(WRITTEN, max_size=3))
def test_what_is_covered_is_matched(wide: list[str], narrow: list[str]) -> None:
    first, second = one_of(*wide), one_of(*narrow)

    assert not first.covers(second) or all(first.matches(text) for text in TEXTS if second.matches(text))


def test_globs_meet_in_a_text_that_both_match() -> None:
    assert choices([one_of("prod-*"), one_of("*-eu")]).values == ("prod--eu",)


def test_globs_with_other_beginnings_have_nothing_in_common() -> None:
    assert choices([one_of("prod-*"), one_of("dev-*", "test")]).none


def test_what_is_shunned_comes_last() -> None:
    assert choices([one_of("a", "b")], shunned=[one_of("a")]) == Choices(("b", "a"), open=False)
