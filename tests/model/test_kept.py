from langsteer.model.kept import Kept


def test_a_value_is_made_once() -> None:
    kept, made = Kept(), iter(range(9))
    assert [kept.get("a", lambda: next(made)) for _ in range(3)] == [0, 0, 0]
    assert kept.get("b", lambda: next(made)) == 1
    assert kept.get("a", lambda: next(made)) == 0


def test_what_is_made_of_something_else_is_made_anew() -> None:
    kept, made = Kept(), iter(range(9))
    keys = ["x", "x", "y", "x"]
    assert [kept.get("a", lambda: next(made), key) for key in keys] == [0, 0, 1, 2]


def test_nothing_is_a_value() -> None:
    kept, made = Kept(), iter([None, 1])
    assert [kept.get("a", lambda: next(made)) for _ in range(2)] == [None, None]
