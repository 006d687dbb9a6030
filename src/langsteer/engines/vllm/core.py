"""In the engine's core: no request passes without its steering made out, and blocks are told apart."""

from collections.abc import Callable, Mapping
from typing import Any

from langsteer.engines.vllm.prefix import block_key
from langsteer.engines.vllm.rows import check_rows
from langsteer.engines.vllm.start import ROWS, catalogue_of, engine_model, settings_of
from langsteer.engines.vllm.steering import Steering, read_steering
from langsteer.engines.vllm.word import KEY
from langsteer.errors import EngineError

_STEERING = "_langsteer_steering"


def preprocess_add_request(own: Callable[..., Any], core: Any, request: Any) -> Any:
    settings = settings_of(core.vllm_config)
    params = request.sampling_params
    extra = params.extra_args if params is not None else None
    if extra and KEY in extra:
        if settings is None:
            raise EngineError("a request names a vector, and the engine was started without any")
        if ROWS in settings:
            model = engine_model(core.vllm_config.model_config)
            check_rows(read_steering(extra[KEY]), settings[ROWS], model)
        else:
            read_steering(extra[KEY], catalogue_of(settings))
    return own(core, request)


def generate_block_hash_extra_keys(
    own: Callable[..., Any], request: Any, start: int, end: int, *args: Any, **kwargs: Any
) -> Any:
    keys, *rest = own(request, start, end, *args, **kwargs)
    key = block_key(_steering(request), start, end)
    return ((*(keys or ()), (KEY, key)) if key is not None else keys, *rest)


def _steering(request: Any) -> Steering | None:
    """A request's steering, read once."""
    if not hasattr(request, _STEERING):
        params = request.sampling_params
        plain = (params.extra_args or {}).get(KEY) if params is not None else None
        setattr(request, _STEERING, read_steering(plain))
    return getattr(request, _STEERING)


POINTS: Mapping[str, Callable[..., Any]] = {
    "vllm.v1.engine.core:EngineCore.preprocess_add_request": preprocess_add_request,
    "vllm.v1.core.kv_cache_utils:generate_block_hash_extra_keys": generate_block_hash_extra_keys,
    "vllm.v1.core.block_pool:generate_block_hash_extra_keys": generate_block_hash_extra_keys,
}
