"""What is not a number is an error that says what to do."""

import pytest
import torch

from langsteer.errors import StateError
from langsteer.model.finite import check_finite

FLOAT16 = (
    "the logits are not finite in float16: open the model with --dtype bfloat16 or --dtype float32"
)


def test_numbers_pass() -> None:
    check_finite(torch.tensor([[-1e30, 0.0], [1.0, 2.0]]), "the logits", torch.float32)
    check_finite(torch.tensor([1, 2]), "the ids", torch.float32)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_what_is_none_is_named(bad: float) -> None:
    with pytest.raises(StateError) as raised:
        check_finite(torch.tensor([[0.0, bad]]), "the logits", torch.float16)
    assert str(raised.value) == FLOAT16


def test_a_data_type_with_room_is_not_blamed() -> None:
    bad = torch.tensor(torch.nan)
    with pytest.raises(StateError, match=r"in bfloat16: open the model with --dtype float32$"):
        check_finite(bad, "the logits", torch.bfloat16)
    with pytest.raises(
        StateError, match=r"in float32: its weights .* damaged, or remove that text$"
    ):
        check_finite(bad, "the states of text 3", torch.float32, "remove that text")
