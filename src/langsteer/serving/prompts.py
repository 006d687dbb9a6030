"""Requests to rows: what is read, how the answers are drawn, and what fits into the model."""

from collections.abc import Sequence

from langsteer.errors import LangsteerError, LengthError
from langsteer.model.tokens import Conversation, Prompt, Text, Tokens, encode
from langsteer.serving.asked import Asked
from langsteer.serving.errors import HALF, RequestError
from langsteer.serving.rows import Row, Sampling
from langsteer.serving.schema import ChatRequest, CompletionRequest, Message, stops
from langsteer.steering.generation import chat_prompt
from langsteer.steering.steered import Steered

MOST_PROMPTS = 128


def rows_of(
    request: CompletionRequest | ChatRequest, asked: Asked, ready: Steered, max_tokens: int
) -> list[Row]:
    """The rows of a request, `n` for each prompt; `max_tokens` where it does not say.

    Raises RequestError where a prompt cannot be read, or does not fit into the model.
    """
    texts: list[tuple[Text, Text]]
    if isinstance(request, ChatRequest):
        texts = [conversation_of(request.messages, ready)]
    else:
        texts = [(text, text) for text in prompts_of(request.prompt)]
    rows: list[Row] = []
    for prompt, source in texts:
        tokens = encoded(ready, prompt)
        longest = _room(request, ready, tokens, max_tokens)
        for number in range(request.n or 1):
            sampling = _sampling(request, longest, number)
            rows.append(Row(tokens, source, asked, sampling, lambda piece: None))
    return rows


def prompts_of(prompt: str | Sequence[str]) -> Sequence[str]:
    """The prompts of a request. Raises RequestError where they are too many, or none."""
    prompts = [prompt] if isinstance(prompt, str) else prompt
    if not 1 <= len(prompts) <= MOST_PROMPTS:
        raise RequestError(f"1 to {MOST_PROMPTS} prompts", param="prompt")
    return prompts


def conversation_of(
    messages: Sequence[Message],
    ready: Steered,
    instead: str = "ask /v1/completions, with a prompt",
) -> tuple[Conversation, Prompt]:
    """A chat as the model reads it, and the text in it whose language is heard.

    Raises RequestError, which says what to do `instead`, where there is no template or it refuses.
    """
    turns = [message.turn() for message in messages]
    try:
        conversation = chat_prompt(ready.model, turns)
    except LangsteerError as error:
        told = str(error).replace("leave out --chat", instead)
        raise RequestError(told, param="messages") from error
    except Exception as error:  # a template refuses turns in its own ways
        raise RequestError(f"the chat template: {error}", param="messages") from error
    return conversation, Prompt(conversation.pieces[-2])


def encoded(ready: Steered, prompt: Text) -> Tokens:
    """The tokens of a text. Raises RequestError."""
    try:
        str(prompt).encode()
        return encode(ready.model, [prompt])[0]
    except UnicodeEncodeError as error:
        raise RequestError(HALF) from error
    except LangsteerError as error:
        code = "context_length_exceeded" if isinstance(error, LengthError) else None
        raise RequestError(str(error), code=code) from error


def _room(
    request: CompletionRequest | ChatRequest, ready: Steered, tokens: Tokens, default: int
) -> int:
    """How many tokens may be written. Raises RequestError where what is asked does not fit."""
    asked = request.max_tokens
    if isinstance(request, ChatRequest):
        asked = request.max_completion_tokens or asked
    most = positions_of(ready)
    if most is None:
        return asked or default
    wanted = len(tokens) + (asked or 1)
    if wanted > most:
        raise RequestError(
            f"the model has {most} positions: the prompt has {len(tokens)} tokens, and "
            f"{asked or 'at least 1'} more are to be written",
            code="context_length_exceeded",
            param="messages" if isinstance(request, ChatRequest) else "prompt",
        )
    return asked or min(default, most - len(tokens))


def positions_of(ready: Steered) -> int | None:
    """How many tokens the model reads; None where its configuration does not say."""
    return ready.model.positions


def _sampling(request: CompletionRequest | ChatRequest, longest: int, number: int) -> Sampling:
    top = request.logprobs
    if isinstance(request, ChatRequest):
        if request.top_logprobs is not None and not request.logprobs:
            raise RequestError("top_logprobs needs logprobs", param="top_logprobs")
        top = (request.top_logprobs or 0) if request.logprobs else None
    seed = request.seed
    return Sampling(
        longest,
        1.0 if request.temperature is None else request.temperature,
        1.0 if request.top_p is None else request.top_p,
        stops(request.stop),
        None if seed is None else seed + number,
        top,
    )


def texts_of(rows: Sequence[Row]) -> list[str]:
    """The sources, for a log."""
    return [str(row.source) for row in rows]
