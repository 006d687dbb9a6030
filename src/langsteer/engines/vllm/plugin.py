"""What vLLM calls, in each of its processes, as it loads its plug-ins."""


def register() -> None:
    """Make vLLM steer, in this process; it may be called several times.

    Every point that is changed stands in `front`, `core` and `worker`.
    """
    from langsteer.engines.vllm import core, front, worker
    from langsteer.engines.vllm.start import installed_version, is_known
    from langsteer.engines.vllm.wrapping import wrap

    wrap(front.AT_START)
    if is_known(installed_version()):  # else engines with vectors are refused where they start
        for points in (front.POINTS, core.POINTS, worker.POINTS):
            wrap(points)
