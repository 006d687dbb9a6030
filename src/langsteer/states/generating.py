"""What is to happen around every call of a network's `generate`, whoever calls it and from which thread.

The network gets one `generate` of its own while anybody wants that, and loses it with the last of them.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor

Around = Callable[[Tensor | None, dict[str, Any]], AbstractContextManager[Any]]

_LOCK = threading.RLock()
_NAME = "_langsteer_around_generate"


@contextlib.contextmanager
def around_generate(network: Any, around: Around) -> Iterator[None]:
    """Inside, every call of `network.generate` runs within `around(inputs, arguments)`.

    `inputs` [rows, tokens] or [rows, tokens, hidden] is the prompt that the call was given, None
    where it was given none. Those who come first are outermost; one who comes in the course of a
    call is in time for it.
    """
    with _LOCK:
        _list_of(network).append(around)
    try:
        yield
    finally:
        with _LOCK:
            listed = _list_of(network)
            listed.remove(around)
            if not listed:
                for name in (_NAME, "generate"):
                    del network.__dict__[name]


def _list_of(network: Any) -> list[Around]:
    """Those who want something around `generate`; the network's own is put in place for the first."""
    if _NAME not in network.__dict__:
        plain = network.generate
        listed: list[Around] = []

        def generate(*args: Any, **kwargs: Any) -> Any:
            prompt = args[0] if args else _prompt_in(kwargs)
            with contextlib.ExitStack() as stack:
                entered: list[Around] = []
                while waiting := [around for around in listed if around not in entered]:
                    entered.append(waiting[0])
                    stack.enter_context(waiting[0](prompt, kwargs))
                return plain(*args, **kwargs)

        network.__dict__[_NAME] = listed
        network.__dict__["generate"] = generate
    waiting_list: list[Around] = network.__dict__[_NAME]
    return waiting_list


def _prompt_in(kwargs: dict[str, Any]) -> Tensor | None:
    for name in ("inputs", "input_ids", "inputs_embeds"):
        if isinstance(kwargs.get(name), Tensor):
            return kwargs[name]
    return None
