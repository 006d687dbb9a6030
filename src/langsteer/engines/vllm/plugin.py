"""What vLLM calls, in each of its processes, as it loads its plug-ins."""

import multiprocessing
import os
import threading
from multiprocessing.connection import wait

END_WITH_PARENT = "LANGSTEER_END_WITH_PARENT"
"""set where an engine must not outlive a process that may be killed"""


def register() -> None:
    """Make vLLM steer, in this process; it may be called several times.

    Every point that is changed stands in `front`, `core` and `worker`.
    """
    from langsteer.engines.vllm import core, front, worker
    from langsteer.engines.vllm.start import installed_version, is_known
    from langsteer.engines.vllm.wrapping import wrap

    end_with_parent()
    wrap(front.AT_START)
    if is_known(installed_version()):  # else engines with vectors are refused where they start
        for points in (front.POINTS, core.POINTS, worker.POINTS):
            wrap(points)


def end_with_parent() -> None:
    """Where it is asked for, end this process when the one that started it has ended, however that was."""
    parent = multiprocessing.parent_process()
    if parent is None or not os.environ.get(END_WITH_PARENT):
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
