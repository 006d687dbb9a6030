"""In the processes that take requests: the start of an engine, and what a request's word means."""

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from langsteer.engines.vllm.start import catalogue_of, check_loader, prepare, settings_of
from langsteer.engines.vllm.steering import Prompt, bias_of, is_plain, steering_of
from langsteer.engines.vllm.word import KEY, read_word
from langsteer.engines.vllm.wrapping import wrap
from langsteer.errors import LangsteerError

_BEAM = "to_beam_search_params"
_PROTOCOLS = {
    "vllm.entrypoints.openai.chat_completion.protocol": "ChatCompletionRequest",
    "vllm.entrypoints.openai.completion.protocol": "CompletionRequest",
}


def create_engine_config(
    own: Callable[..., Any], engine_args: Any, *args: Any, **kwargs: Any
) -> Any:
    config = own(engine_args, *args, **kwargs)
    settings = prepare(config)
    if settings is not None:
        check_loader(config.load_config)
        config.additional_config = {**config.additional_config, KEY: settings}
        wrap({f"{module}:{name}.{_BEAM}": beam_search for module, name in _PROTOCOLS.items()})
    return config


def process_inputs(own: Callable[..., Any], processor: Any, *args: Any, **kwargs: Any) -> Any:
    request = own(processor, *args, **kwargs)
    params = request.sampling_params
    settings = settings_of(processor.vllm_config)
    extra = params.extra_args if params is not None else None
    if settings is None or not extra or KEY not in extra or is_plain(extra[KEY]):
        return request
    try:
        if request.prompt_token_ids is None or request.prompt_embeds is not None:
            raise LangsteerError("a prompt of embeddings is not steered: give text or tokens")
        if request.resumable:
            raise LangsteerError("a prompt that goes on as it is read is not steered")
        prompt = _prompt(processor, request.prompt_token_ids)
        word, catalogue = read_word(extra[KEY]), catalogue_of(settings)
        steering, bias = steering_of(word, catalogue, prompt), bias_of(word, catalogue)
    except LangsteerError as error:
        _refuse(error)
    # own() has cloned the parameters, but not what they hold
    rest = {key: value for key, value in extra.items() if key != KEY}
    params.extra_args = rest if steering is None else {**rest, KEY: steering.plain()}
    if bias:
        asked = params.logit_bias or {}
        params.logit_bias = {**bias, **{t: bias.get(t, 0.0) + n for t, n in asked.items()}}
    return request


def beam_search(own: Callable[..., Any], request: Any, *args: Any, **kwargs: Any) -> Any:
    if KEY in (request.vllm_xargs or {}):
        _refuse(LangsteerError("vLLM's beam search leaves out what a request says: no vector"))
    return own(request, *args, **kwargs)


def _prompt(processor: Any, ids: Any) -> Prompt:
    """The prompt and its special tokens, as `Model` knows them."""
    tokenizer = processor.tokenizer
    bos = getattr(tokenizer, "bos_token_id", None)
    if bos is None:
        bos = getattr(processor.vllm_config.model_config.hf_text_config, "bos_token_id", None)
    special = frozenset(getattr(tokenizer, "all_special_ids", ()))
    return Prompt(ids, bos, special, tokenizer)


def _refuse(error: LangsteerError) -> NoReturn:
    """What vLLM's server answers with status 400."""
    from vllm.exceptions import VLLMValidationError

    raise VLLMValidationError(str(error), parameter=KEY) from error


AT_START: Mapping[str, Callable[..., Any]] = {
    "vllm.engine.arg_utils:EngineArgs.create_engine_config": create_engine_config,
}
POINTS: Mapping[str, Callable[..., Any]] = {
    "vllm.v1.engine.input_processor:InputProcessor.process_inputs": process_inputs,
}
