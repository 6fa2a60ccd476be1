"""What was made is given again for the very same values, and for no others."""

from operator import eq

from onearm.again import Again


def test_the_very_same_values_are_not_made_of_again():
    made = []
    again = Again(lambda *given: made.append(given) or len(made))
    one, other = ("a",), tuple(["a"])  # noqa: C409 - equal, and another object
    assert [again("k", one), again("k", one), again("k", other), again("j", other)] == [1, 1, 2, 3]
    assert made == [(one,), (other,), (other,)]
    assert again("k", one, 5) == 4
    assert again("k", one) == 5


def test_what_is_remembered_is_bounded():
    again = Again(lambda given: [given], most=2)
    for n in range(9):
        assert again(n, n) == [n]
        assert len(again._held) <= 2


def test_nobody_comes_to_stand_where_another_object_stood():
    again = Again(list)
    assert [again("k", {n: 1}) for n in range(50)] == [[n] for n in range(50)]


def test_equal_values_count_where_that_is_said():
    made = []
    again = Again(lambda *given: made.append(given) or len(made), alike=eq)
    one, other = ("a",), tuple(["a"])  # noqa: C409 - equal, and another object
    assert [again("k", one), again("k", other), again("k", ("b",)), again("k", one)] == [1, 1, 2, 3]
