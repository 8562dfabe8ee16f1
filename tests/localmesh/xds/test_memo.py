"""The translation's memory: the same objects give the same result, and what nobody asks for is forgotten."""

from __future__ import annotations

from harness.localmesh.xds.memo import Memo


def test_the_same_objects_are_worked_out_once():
    """Identity counts for objects, equality for strings and numbers."""
    calls = []

    def work(item, number, name):
        calls.append(item)
        return [item, number, name]

    memo, one, equal = Memo(), [1], [1]
    first = memo(work, one, 1, "a")
    assert memo(work, one, 1, "".join(["a"])) is first
    assert memo(work, equal, 1, "a") is not first
    assert memo(work, one, 2, "a") is not first
    assert len(calls) == 3


def test_what_is_used_survives_generations_and_what_is_not_is_forgotten():
    """A result lives through every turn before which it was asked for, and through one more."""
    memo, kept, left = Memo(), [1], [2]
    first, second = memo(list, kept), memo(list, left)
    for _ in range(3):
        memo.turn()
        assert memo(list, kept) is first
    assert memo(list, left) is not second


def test_an_empty_result_is_remembered_too():
    """A result that counts as false is a result."""
    calls = []
    memo, item = Memo(), [1]
    for _ in range(2):
        assert memo(_nothing, item, calls) == ()
    assert len(calls) == 1


def _nothing(item, calls):
    calls.append(item)
    return ()


def test_what_a_result_was_made_of_lives_as_long_as_the_result():
    """A part is not worked out again because only the whole was asked for in the meantime."""
    memo, part, other = Memo(), [1], [2]

    def whole(*items):
        return [memo(list, item) for item in items]

    first = memo(whole, part)
    for _ in range(3):
        memo.turn()
        memo(whole, part)
    memo.turn()
    assert memo(whole, part, other)[0] is first[0]


def test_what_is_worked_out_through_something_else_is_remembered_by_its_arguments_alone():
    """And with it what it was made of: an unchanged mesh is not looked at again, and nothing of it is made twice."""
    memo, made, one = Memo(), [], object()

    def inner(_):
        made.append("inner")
        return object()

    def outer(mesh):
        made.append(mesh)
        return memo(inner, one)

    first = memo.through(outer, "first mesh", one)
    for _ in range(3):
        memo.turn()
        assert memo.through(outer, "second mesh", one) is first
    assert memo(inner, one) is first
    assert made == ["first mesh", "inner"]
    assert memo.through(outer, "third mesh", object()) is first
    assert made[-1] == "third mesh"
