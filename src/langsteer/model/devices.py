"""Devices and data types by the names that people give them."""

import os
from typing import Any

import torch

from langsteer.errors import ModelError
from langsteer.model.names import DTYPES, SHORT_DTYPES

PLACEMENTS = ("auto", "balanced", "balanced_low_0", "sequential")
_ELSEWHERE = "name another (--device), or leave it out; langsteer doctor says what is here"


def named_dtype(dtype: str | torch.dtype) -> str | torch.dtype:
    """The data type of a name such as `bf16` or `torch.bfloat16`; `auto` itself. ModelError."""
    if isinstance(dtype, torch.dtype):
        return dtype
    whole = SHORT_DTYPES.get(dtype, dtype.removeprefix("torch."))
    known = getattr(torch, whole, None)
    if whole == "auto":
        return whole
    if not isinstance(known, torch.dtype) or not known.is_floating_point:
        raise ModelError(f"{dtype!r} is not a data type to open a model in: {', '.join(DTYPES)}")
    return known


def named_device(device: str | torch.device) -> torch.device:
    """The device of a name; `gpu` is whichever accelerator is here. ModelError where it is not here."""
    if str(device) == "gpu":
        device = _accelerator()
    try:
        named = torch.device(device)
    except RuntimeError as error:
        raise ModelError(
            f"no device is called {device!r}: there are cpu, gpu, cuda, cuda:0, mps, xpu"
        ) from error
    if named.type != "cpu":
        _check_here(named)
    return named


def device_of(module: torch.nn.Module) -> torch.device:
    """The device that a module runs on: where accelerate takes its weights to, if they are kept elsewhere."""
    for part in module.modules():
        hook = getattr(part, "_hf_hook", None)
        for each in getattr(hook, "hooks", (hook,)):
            place = getattr(each, "execution_device", None)
            if place is not None:
                return torch.device(place)
    return next(module.parameters()).device


def checked_places(device_map: Any) -> Any:
    """`device_map`, once the devices that it names are known to be here. Raises ModelError."""
    if isinstance(device_map, str) and device_map not in PLACEMENTS:
        return str(named_device(device_map))
    if isinstance(device_map, dict):
        for place in set(device_map.values()) - {"disk"}:
            named_device(f"{_accelerator().type}:{place}" if isinstance(place, int) else place)
    return device_map


def roomier(dtype: torch.dtype, device: torch.device, numbers: int) -> torch.dtype | None:
    """What numbers too large for `dtype` fit into: for float16 float32 on a processor where the
    model's `numbers` take at most half of its memory, else bfloat16; for others nothing.
    """
    if dtype != torch.float16:
        return None
    small = 4 * numbers <= _memory() / 2
    return torch.float32 if device.type == "cpu" and small else torch.bfloat16


def _accelerator() -> torch.device:
    here = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if here is None:
        raise ModelError(f"there is no GPU here: {_ELSEWHERE}")
    return here


def _check_here(device: torch.device) -> None:
    module = getattr(torch, device.type, None)
    if device.type == "meta" or module is None or not hasattr(module, "is_available"):
        raise ModelError(f"a model cannot run on the device {device}: {_ELSEWHERE}")
    count = module.device_count() if module.is_available() else 0
    if count == 0:
        raise ModelError(f"there is no {device.type} device here: {_ELSEWHERE}")
    if device.index is not None and device.index >= count:
        there = ", ".join(f"{device.type}:{index}" for index in range(count))
        raise ModelError(f"there is no device {device} here, only {there}: {_ELSEWHERE}")


def _memory() -> float:
    """Bytes of memory of this machine; infinite where the system does not say."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):  # not on Windows
        return float("inf")
