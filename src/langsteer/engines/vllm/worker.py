"""In the workers: the model as it is loaded, and each step of either of vLLM's two model runners."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from langsteer.engines.vllm.layers import install
from langsteer.engines.vllm.rows import RowsRunning
from langsteer.engines.vllm.running import Running
from langsteer.engines.vllm.start import ROWS, catalogue_of, engine_model, settings_of
from langsteer.errors import EngineError

_RUNNING = "langsteer_running"


def load_model(
    own: Callable[..., Any],
    loader: Any,
    vllm_config: Any,
    model_config: Any,
    *args: Any,
    **kwargs: Any,
) -> Any:
    model = own(loader, vllm_config, model_config, *args, **kwargs)
    settings = settings_of(vllm_config)
    if settings is None or model_config is not vllm_config.model_config:  # a draft model
        return model
    device = next(model.parameters()).device
    about, width = engine_model(model_config), _width(vllm_config)
    running = (
        RowsRunning(settings[ROWS], about, width, device)
        if ROWS in settings
        else Running(catalogue_of(settings), width, device)
    )
    install(model, running, about.layers)
    setattr(model, _RUNNING, running)
    model.get_model_state_cls = functools.partial(_state_class, vllm_config, model)
    return model


def _width(vllm_config: Any) -> int:
    """The most tokens that a step may have, padding included."""
    compiled = vllm_config.compilation_config.max_cudagraph_capture_size or 0
    return int(max(vllm_config.scheduler_config.max_num_batched_tokens, compiled))


# The first runner


def update_states(own: Callable[..., Any], runner: Any, scheduled: Any) -> Any:
    running = _running(runner)
    if running is not None:
        for name in scheduled.finished_req_ids:
            running.end(name)
        for new in scheduled.scheduled_new_reqs:
            running.start(new.req_id, _extra(new))
    return own(runner, scheduled)


def prepare_inputs(own: Callable[..., Any], runner: Any, scheduled: Any, counts: Any) -> Any:
    prepared = own(runner, scheduled, counts)
    running = _running(runner)
    if running is not None:
        batch = runner.input_batch
        slots = running.slots_of(batch.req_ids[: batch.num_reqs])
        running.write(slots, batch.num_computed_tokens_cpu[: batch.num_reqs], counts)
    return prepared


def _running(runner: Any) -> Running | None:
    """What a runner's model has been given; EngineError where it should have been and was not."""
    running: Running | None = getattr(runner.get_model(), _RUNNING, None)
    if running is None and settings_of(runner.vllm_config) is not None:
        raise EngineError("this vLLM has loaded its model in a way that the vectors are not in")
    return running


def _extra(new: Any) -> Mapping[str, Any] | None:
    return new.sampling_params.extra_args if new.sampling_params is not None else None


# The second runner


def _state_class(vllm_config: Any, model: Any) -> Any:
    """The class of the runner's state of the model, made to write each step."""
    from vllm.v1.worker.gpu import model_states

    ours = model.__dict__.pop("get_model_state_cls")
    try:
        base: Any = model_states.resolve_model_state_cls(vllm_config, model)
    finally:
        model.get_model_state_cls = ours

    class SteeredState(base):  # type: ignore[misc]
        langsteer_slots = np.zeros(0, np.int64)  # by a request's place in the runner's own states

        def add_request(self, req_index: int, new_req_data: Any) -> None:
            super().add_request(req_index, new_req_data)
            slot = getattr(model, _RUNNING).start(new_req_data.req_id, _extra(new_req_data))
            more = max(0, req_index + 1 - len(self.langsteer_slots))
            self.langsteer_slots = np.pad(self.langsteer_slots, (0, more))
            self.langsteer_slots[req_index] = slot

        def remove_request(self, req_id: str) -> None:
            super().remove_request(req_id)
            getattr(model, _RUNNING).end(req_id)

        def prepare_inputs(self, input_batch: Any, req_states: Any) -> Any:
            count = input_batch.num_reqs
            getattr(model, _RUNNING).write(
                self.langsteer_slots[input_batch.idx_mapping_np[:count]],
                input_batch.num_computed_tokens_np[:count],
                input_batch.num_scheduled_tokens[:count],
            )
            return super().prepare_inputs(input_batch, req_states)

    return SteeredState


POINTS: Mapping[str, Callable[..., Any]] = {
    "vllm.model_executor.model_loader.base_loader:BaseModelLoader.load_model": load_model,
    "vllm.v1.worker.gpu_model_runner:GPUModelRunner._update_states": update_states,
    "vllm.v1.worker.gpu_model_runner:GPUModelRunner._prepare_inputs": prepare_inputs,
}
