"""Better evidence wins: what was run here answers, exactly where it was run and by ratio elsewhere."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from advisor.candidates import evaluate
from advisor.catalog import Catalog, Model, Variant, load_catalog
from advisor.cli import options
from advisor.deployment_speed import deployment_speed, predict_for
from advisor.estimate import Line, estimate_lines, make_settings
from advisor.evidence import Value
from advisor.load import load_digest, load_of
from advisor.measured_speed import known_speeds
from advisor.measurements import Measurement, record
from advisor.memory import Settings
from advisor.recommend import recommend
from advisor.speed import SpeedEstimate
from advisor.target import Place, Target, make_target
from advisor.workload import make_workload
from profiles.engine.installed import InstalledEngine
from profiles.fingerprint import fingerprint
from tests.advisor.conftest import Ask, target_of

SETTINGS = Settings(context_length=8192, threads=8)


def model_of(text: str = "Qwen2.5-1.5B-Instruct", quant: str = "Q4_K_M") -> tuple[Model, Variant]:
    model = load_catalog().find(text)
    return model, model.variant(quant)


def measured(model: Model, variant: Variant, rate: float = 30.0, **fields: Any) -> Measurement:
    """A measurement of tg128 on an empty cache, unless `fields` say otherwise."""
    assert model.architecture is not None
    given = {
        "at": "2026-11-23T21:40:05Z",
        "evidence": "measured",
        "model": model.id,
        "quant": variant.quant,
        "file": "model.gguf",
        "load_digest": load_digest(model.architecture, variant.bytes_by_type),
        "device": "0123456789abcdef",
        "engine": "an engine",
        "backend": "cpu",
        "threads": 8,
        **fields,
    }
    if "n_prompt" in given:
        return Measurement(**given, pp=Value(rate, 0.97 * rate, 1.04 * rate, "measured"))
    given.setdefault("n_gen", 128)
    return Measurement(**given, tg=Value(rate, 0.97 * rate, 1.04 * rate, "measured"))


def cpu_of(target: Target) -> Place:
    return next(place for place in target.places if place.processor.backend == "cpu")


def speed(
    target: Target, *, n_prompt: int = 0, n_gen: int = 0, depth: int = 0, **changes: Any
) -> SpeedEstimate:
    """The speed of the model on the target."""
    model, variant = model_of()
    assert model.architecture is not None
    found = deployment_speed(
        model.architecture,
        load_of(model, variant, SETTINGS.type_k, SETTINGS.type_v),
        variant.bytes_by_type,
        target,
        cpu_of(target),
        msgspec.structs.replace(SETTINGS, **changes),
        n_prompt=n_prompt,
        n_gen=n_gen,
        depth=depth,
    )
    assert found is not None
    return found


def knowing(*found: Measurement) -> Target:
    """The laptop with measurements of it."""
    target = target_of("laptop", make_workload())
    return msgspec.structs.replace(target, known_speeds=known_speeds(found))


def test_at_the_measured_point_the_estimate_is_the_measurement() -> None:
    """Value, interval and grade, for generation and for prompts; and the file and date are told."""
    target = knowing(measured(*model_of(), rate=31.4), measured(*model_of(), rate=207.0, n_prompt=512))
    found = speed(target, n_gen=128)
    assert found.tg == Value(31.4, 0.97 * 31.4, 1.04 * 31.4, "measured")
    assert speed(target, n_prompt=512).pp == Value(207.0, 0.97 * 207.0, 1.04 * 207.0, "measured")
    origin = next(each for each in found.origins if each.speed == "tg")
    assert (origin.test, origin.file, origin.at, origin.exact) == (
        "tg128",
        "model.gguf",
        "2026-11-23T21:40:05Z",
        True,
    )


def test_the_same_position_is_the_same_point_however_it_was_reached() -> None:
    """The middle of 128 tokens after 512 in the cache, whether those are called depth or prompt."""
    target = knowing(measured(*model_of(), rate=25.0, depth=512))
    assert speed(target, n_prompt=512, n_gen=128).tg.value == 25.0


def test_elsewhere_the_estimates_shape_is_kept_and_the_interval_grows_with_the_distance() -> None:
    """Measured by estimated is the same everywhere, and less is certain farther away."""
    plain, target = knowing(), knowing(measured(*model_of(), rate=15.0))
    ratio = 15.0 / speed(plain, n_gen=128).tg.value
    widths = []
    for depth in (0, 512, 2048, 6000):
        there, before = speed(target, n_gen=128, depth=depth), speed(plain, n_gen=128, depth=depth)
        assert there.tg.value == pytest.approx(ratio * before.tg.value)
        assert there.tg.evidence == "measured"
        assert there.tg.low < there.tg.value < there.tg.high
        widths.append(there.tg.high / there.tg.low)
        assert widths[-1] <= before.tg.high / before.tg.low * (1 + 1e-9)
    assert widths == sorted(widths)
    assert len(set(widths)) == len(widths)


def test_generation_and_prompts_are_judged_apart_and_the_first_token_follows() -> None:
    """A measured pp says nothing of tg; the wait for the first token is the sum, no better than its worse part."""
    plain, target = knowing(), knowing(measured(*model_of(), rate=300.0, n_prompt=512))
    found = speed(target, n_prompt=512, n_gen=128)
    assert found.pp.evidence == "measured"
    assert found.tg == speed(plain, n_prompt=512, n_gen=128).tg
    assert found.ttft_s.value == pytest.approx(512 / 300.0 + 1 / found.tg.value)
    assert found.ttft_s.evidence == "spec"
    assert found.ttft_s.low < found.ttft_s.value < found.ttft_s.high


def test_the_terms_still_add_up() -> None:
    """--verbose shows shares of the measured time."""
    found = speed(knowing(measured(*model_of())), n_gen=128)
    terms = found.decode
    parts = (
        terms.overhead_s + sum(terms.weights_s.values()) + terms.state_s + terms.kv_cache_s + terms.transfer_s
    )
    assert parts == pytest.approx(terms.total_s) == pytest.approx(1 / found.tg.value)


OTHER: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "backend": ({"backend": "vulkan"}, {}),
    "cache type": ({"type_k": "q8_0"}, {}),
    "threads": ({"threads": 4}, {}),
    "offloaded layers": ({"offload_layers": 3}, {}),
    "flash attention": ({"flash_attention": "off"}, {}),
    "model": ({"load_digest": "0" * 16}, {}),
    "settings asked for": ({}, {"type_v": "q8_0"}),
    "threads asked for": ({}, {"threads": 2}),
}


@pytest.mark.parametrize("what", OTHER)
def test_what_was_run_in_another_way_does_not_count(what: str) -> None:
    """Another setting may be twice as fast."""
    fields, asked = OTHER[what]
    target = knowing(measured(*model_of(), **fields))
    assert speed(target, n_gen=128, **asked) == speed(knowing(), n_gen=128, **asked)


def test_the_micro_batch_matters_to_prompts_only() -> None:
    """One token is no batch."""
    target = knowing(
        measured(*model_of(), micro_batch=64), measured(*model_of(), rate=300.0, micro_batch=64, n_prompt=512)
    )
    found = speed(target, n_prompt=512, n_gen=128)
    assert found.tg.evidence == "measured"
    assert found.pp.evidence == "spec"


def test_the_real_file_beats_the_probe_and_the_newest_beats_the_older() -> None:
    """In whatever order they were made."""
    probed = measured(*model_of(), rate=10.0, evidence="probed")
    old, new = measured(*model_of(), rate=20.0), measured(*model_of(), rate=22.0)
    found = speed(knowing(old, new, probed), n_gen=128).tg
    assert (found.value, found.evidence) == (22.0, "measured")
    found = speed(knowing(probed), n_gen=128).tg
    assert (found.value, found.evidence) == (10.0, "probed")


def test_models_of_equal_shapes_and_types_share_a_measurement() -> None:
    """Qwen2.5-1.5B and its instruct and coder versions are one model to the hardware; another quantization is not."""
    digests = set()
    for name in ("Qwen2.5-1.5B-Instruct", "Qwen2.5-Coder-1.5B-Instruct"):
        model, variant = model_of(name)
        assert model.architecture is not None
        digests.add(load_digest(model.architecture, variant.bytes_by_type))
        longer = msgspec.structs.replace(model.architecture, context_length=1 << 20)
        digests.add(load_digest(longer, variant.bytes_by_type))
    assert len(digests) == 1
    model, variant = model_of(quant="Q8_0")
    assert model.architecture is not None
    assert load_digest(model.architecture, variant.bytes_by_type) not in digests


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 8000), st.floats(0.2, 5.0)), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(1, 8000), st.floats(0.2, 5.0)), min_size=1, max_size=4),
)
def test_more_context_is_never_faster_whatever_was_measured(
    depths: list[tuple[int, float]], prompts: list[tuple[int, float]]
) -> None:
    """As long as the measurements themselves say so: between and beyond them nothing turns round."""
    plain = knowing()
    found: list[Measurement] = []
    slowest = 0.0
    for depth, factor in sorted(dict(depths).items()):
        slowest = max(slowest, factor / speed(plain, n_gen=128, depth=depth).tg.value)
        found.append(measured(*model_of(), rate=1 / slowest, depth=depth))
    slowest = 0.0
    for n_prompt, factor in sorted(dict(prompts).items()):
        slowest = max(slowest, n_prompt * factor / speed(plain, n_prompt=n_prompt).pp.value)
        found.append(measured(*model_of(), rate=n_prompt / slowest, n_prompt=n_prompt))
    target = knowing(*found)
    asked = sorted({*range(1, 9000, 500), *dict(depths), *dict(prompts)} - {0})
    tokens = [speed(target, n_gen=128, depth=depth).tg.value for depth in asked]
    waits = [n_prompt / speed(target, n_prompt=n_prompt).pp.value for n_prompt in asked]
    assert all(after <= before * (1 + 1e-9) for before, after in itertools.pairwise(tokens))
    assert all(after >= before * (1 - 1e-9) for before, after in itertools.pairwise(waits))


def test_the_recommendation_changes_its_mind(ask: Ask, catalog: Catalog) -> None:
    """A first choice that turns out to be far too slow here is not listed any more, or not first."""
    target, workload = ask("laptop", task="chat")
    before = recommend(catalog.models, target, workload)
    first = before.ranked[0]
    assert first.speed is not None
    slow = measured(
        first.model,
        first.variant,
        rate=0.5,
        backend=first.place.processor.backend,
        offload_layers=first.settings.offload_layers,
        threads=first.settings.threads,
    )
    after = recommend(
        catalog.models, msgspec.structs.replace(target, known_speeds=known_speeds([slow])), workload
    )
    chosen = next((each for each in after.ranked if each.model.id == first.model.id), None)
    assert chosen is None or chosen.variant.quant != first.variant.quant
    others = [each for each in before.ranked if each.model.architecture != first.model.architecture]
    unchanged = {each.model.id: each.speed for each in after.ranked}
    assert all(unchanged[each.model.id] == each.speed for each in others)


def test_a_prediction_knows_only_worse_grades() -> None:
    """Else the ledger would compare a measurement with itself."""
    probed = measured(*model_of(), rate=10.0, evidence="probed")
    target = knowing(probed, measured(*model_of(), rate=20.0))
    model, variant = model_of()
    assert model.architecture is not None

    def predicted(grade: Any) -> Value | None:
        pp, tg = predict_for(
            model.architecture,  # type: ignore[arg-type]
            variant,
            target,
            cpu_of(target),
            SETTINGS,
            grade=grade,
            n_prompt=0,
            n_gen=128,
        )
        assert pp is None
        return tg

    for_measured, for_probed = predicted("measured"), predicted("probed")
    assert for_measured is not None
    assert for_probed is not None
    assert (for_measured.value, for_measured.evidence) == (10.0, "probed")
    assert for_probed == speed(knowing(), n_gen=128).tg


def test_a_device_that_was_not_measured_is_estimated_as_before() -> None:
    """Evaluation without measurements is untouched."""
    workload = make_workload()
    target = make_target(target_of("laptop", workload).device, workload)
    model, variant = model_of()
    candidate = evaluate(model, variant, target, cpu_of(target), SETTINGS, workload)
    assert candidate.speed is not None
    assert candidate.speed.origins == ()
    assert candidate.speed.tg.evidence == "spec"


# --- this machine


def grades_here(**row: Any) -> tuple[str | None, str | None]:
    """The grade of tg by `estimate MODEL:QUANT --json` and by a row of a batch."""
    target = options.target_of(row.get("device"), make_workload(), strict=False)
    model, variant = model_of()
    candidate = evaluate(
        model,
        variant,
        target,
        cpu_of(target),
        settings_here(target, model),
        make_workload(context_length=4096),
    )
    line = next(
        estimate_lines([json.dumps({"model": model.id, "quant": "Q4_K_M", "backend": "cpu", **row}).encode()])
    )
    assert isinstance(line, Line), line
    alone = None if candidate.speed is None else candidate.speed.tg.evidence
    return alone, None if line.tg_tokens_per_s is None else line.tg_tokens_per_s.evidence


def settings_here(target: Target, model: Model) -> Settings:
    return make_settings(cpu_of(target), model, context_length=4096)


def test_only_this_machine_with_this_engine_uses_what_was_measured_on_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Another build of the engine, another device, and the same machine as a named one are estimated."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    engine = InstalledEngine(version="0.3.36", folder="/nowhere", digest="1a2b3c4d")
    monkeypatch.setattr("profiles.engine.installed.installed_engine", lambda: engine)
    target = options.target_of(None, make_workload(), strict=False)
    settings = settings_here(target, model_of()[0])
    mine = measured(
        *model_of(),
        device=fingerprint(target.device),
        engine=engine.identity,
        threads=settings.threads,
        threads_batch=settings.threads_batch,
    )
    for other in ({"engine": "another build"}, {"device": "f" * 16}):
        assert record(msgspec.structs.replace(mine, **other)) is None
    assert grades_here() == ("spec", "spec")
    assert record(mine) is None
    assert grades_here() == ("measured", "measured")
    assert grades_here(device="Raspberry Pi 5 8GB") == ("spec", "spec")
    monkeypatch.setattr("profiles.engine.installed.installed_engine", lambda: None)
    assert grades_here() == ("spec", "spec")
