"""What tells blocks of the prefix cache apart: what is added to their tokens.

A block's hash is made of its parent's, its tokens and extra keys. What is added within a block is its key; what was
added before it is in its parent's hash. So all share what comes before the first steered token, and after it
those share that are steered alike, whoever they are.
"""

from langsteer.engines.vllm.steering import OPEN, Steering

Key = tuple[str | int | float, ...]


def block_key(steering: Steering | None, start: int, end: int) -> Key | None:
    """The key of the block of tokens [start, end); None where nothing is added to any of them."""
    if steering is None:
        return None
    inside: list[str | int | float] = []
    for first, stop, digest in steering.pieces:
        low, high = max(first, start), end if stop == OPEN else min(stop, end)
        if low < high:
            inside += [low - start, high - start, digest]
    return (steering.scale, *inside) if inside else None
