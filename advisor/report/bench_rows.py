"""A bench result row by row: as CSV, and in the fields of llama-bench's own JSON.

One list of fields feeds each. llama-bench's fields are those of llama.cpp's tools/llama-bench at the commit inside
llama-cpp-python 0.3.36; those that mean nothing here have the value llama-bench gives by default.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

import msgspec

from advisor.bench import BenchResult, BenchRun
from advisor.report.bench_documents import BenchDocument
from profiles.throughput import Rate


def csv_text(document: BenchDocument) -> str:
    """One line a test, with a heading; an unknown is an empty cell."""
    import csv
    import io

    rows = list(_rows(document))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]) if rows else ["test"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _rows(document: BenchDocument) -> Iterator[dict[str, Any]]:
    file = document.file
    for run in document.runs:
        for rate in run.rates:
            value, predicted, first = rate.tokens_per_s, rate.predicted_tokens_per_s, run.first_token
            yield {
                "file": file.path,
                "model": file.model,
                "quant": file.quant,
                "engine": document.engine,
                "backend": document.backend,
                "device": document.device,
                **msgspec.structs.asdict(run.settings),
                "test": rate.test,
                "n_prompt": rate.n_prompt,
                "n_gen": rate.n_gen,
                "depth": rate.depth,
                "tokens_per_s": value.value,
                "tokens_per_s_low": value.low,
                "tokens_per_s_high": value.high,
                "predicted_tokens_per_s": predicted and predicted.value,
                "predicted_tokens_per_s_low": predicted and predicted.low,
                "predicted_tokens_per_s_high": predicted and predicted.high,
                "joules_per_token": rate.joules_per_token,
                "ttft_s": first and first.ttft_s.value,
                "load_s": run.load_s,
                "peak_resident_bytes": run.peak_resident_bytes,
                "noise": "; ".join(rate.noise),
            }


def llama_bench_text(result: BenchResult) -> str:
    """The JSON array that `llama-bench -o json` prints."""
    rows = [_llama_bench_row(result, one, rate) for one in result.runs for rate in one.run.rates]
    return msgspec.json.format(msgspec.json.encode(rows), indent=2).decode() + "\n"


def _llama_bench_row(result: BenchResult, one: BenchRun, rate: Rate) -> dict[str, Any]:
    run, settings, device = one.run, one.run.settings, result.device
    nanoseconds = [round(seconds * 1e9) for seconds in rate.samples_s]
    cards = [accelerator.name or "" for accelerator in device.accelerators] if one.offload_layers else []
    flash = {"auto": -1, "off": 0, "on": 1}
    return {
        "build_commit": result.engine or "unknown",
        "build_number": 0,
        "cpu_info": device.cpu.name or "",
        "gpu_info": ", ".join(cards),
        "backends": result.backend.upper(),
        "model_filename": str(result.path),
        "model_type": run.model.description,
        "model_size": run.model.tensor_bytes,
        "model_n_params": run.model.n_params,
        "n_batch": settings.n_batch,
        "n_ubatch": settings.n_ubatch,
        "n_threads": run.threads_batch if rate.test.n_prompt else run.threads,
        "cpu_mask": "0x0",
        "cpu_strict": False,
        "poll": 50,
        "type_k": settings.type_k,
        "type_v": settings.type_v,
        "n_gpu_layers": settings.gpu_layers,
        "n_cpu_moe": 0,
        "split_mode": "layer",
        "main_gpu": 0,
        "no_kv_offload": False,
        "flash_attn": flash[settings.flash_attention],
        "devices": "auto",
        "tensor_split": "0.00",
        "tensor_buft_overrides": "none",
        "load_mode": "auto",
        "lazy_mode": "auto",
        "embeddings": False,
        "no_op_offload": 0,
        "no_host": False,
        "repack": True,
        "fit_target": 0,
        "fit_min_ctx": 0,
        "n_prompt": rate.test.n_prompt,
        "n_gen": rate.test.n_gen,
        "n_depth": rate.test.depth,
        "test_time": _utc(rate.ended_at),
        "avg_ns": round(statistics.fmean(nanoseconds)),
        "stddev_ns": round(statistics.stdev(nanoseconds)),
        "avg_ts": statistics.fmean(rate.samples),
        "stddev_ts": statistics.stdev(rate.samples),
        "samples_ns": nanoseconds,
        "samples_ts": list(rate.samples),
    }


def _utc(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
