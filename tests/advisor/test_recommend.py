"""The decision: what is listed fits, in an order one can defend, and what is not listed says why."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from advisor.candidates import evaluate, exclusions, family_matches
from advisor.catalog import Catalog
from advisor.errors import InvalidInputError
from advisor.explain import describe, explain
from advisor.recommend import Recommender, recommend
from advisor.search import Choice, candidates, distinct_variants
from advisor.target import make_target
from advisor.workload import make_workload
from profiles.device_file import read_device
from tests.advisor.conftest import Ask, target_of

DEVICES = ("laptop", "Raspberry Pi 5 8GB", "Pixel 9", "NVIDIA GeForce RTX 4070", "Apple M2 Pro", "iPhone 16")


@pytest.mark.parametrize("device", DEVICES)
def test_everything_listed_satisfies_every_constraint_at_its_bad_end(
    device: str, ask: Ask, catalog: Catalog
) -> None:
    """High memory, low speed and late first token of each listed deployment hold the limits."""
    target, workload = ask(device, task="chat")
    result = recommend(catalog.models, target, workload)
    assert result.ranked, f"nothing fits on {device}"
    for candidate in result.ranked:
        assert candidate.feasible
        assert candidate.speed is not None
        assert candidate.speed.tg.low >= workload.min_tg_tokens_per_s
        assert candidate.speed.ttft_s.high <= workload.max_ttft_s
        host, accelerator = candidate.memory.host_high_bytes, candidate.memory.accelerator_high_bytes
        if candidate.place.memory_bytes is not None:
            assert accelerator <= candidate.place.memory_bytes
        if target.host_bytes is not None:
            assert host + (accelerator if candidate.place.shared else 0) <= target.host_bytes


@pytest.mark.parametrize("device", DEVICES)
def test_every_model_is_listed_once_or_excluded_with_a_reason(
    device: str, ask: Ask, catalog: Catalog
) -> None:
    """Nothing is lost in silence: ranked and excluded models are the catalog."""
    target, workload = ask(device, task="chat")
    result = recommend(catalog.models, target, workload)
    ranked = [candidate.model.id for candidate in result.ranked]
    excluded = [exclusion.model.id for exclusion in result.excluded]
    assert sorted(ranked + excluded) == sorted(model.id for model in catalog.models)
    for exclusion in result.excluded:
        assert exclusion.shortfalls
        assert all(describe(shortfall) for shortfall in exclusion.shortfalls)


def test_the_list_is_in_the_order_of_the_score_and_unknown_quality_comes_last(
    ask: Ask, catalog: Catalog
) -> None:
    """Scores never rise down the list, and after the first unknown quality no known one follows."""
    target, workload = ask("Apple M2 Pro", task="general")
    totals = [candidate.score.total for candidate in recommend(catalog.models, target, workload).ranked]
    known = [total for total in totals if total is not None]
    assert known == sorted(known, reverse=True)
    assert totals[: len(known)] == known


@pytest.mark.parametrize("task", ["chat", "summarize"])
@pytest.mark.parametrize("device", DEVICES[1:])
def test_no_candidate_that_the_search_left_out_is_better(
    device: str, task: str, ask: Ask, catalog: Catalog
) -> None:
    """What the search finds by its bounds is what estimating every candidate finds: the same deployments."""
    target, workload = ask(device, task=task)
    ranked = {each.model.id: each for each in recommend(catalog.models, target, workload).ranked}
    scored = [model for model in catalog.models if not exclusions(model, workload)][::3]
    for model in scored:
        every = [
            each
            for variant in distinct_variants(model)
            for each in candidates(Choice(model, variant, workload), target)
            if each.feasible
        ]
        best = max(every, key=lambda each: each.score.total or 0.0, default=None)
        found = ranked.get(model.id)
        assert (best is None) == (found is None), model.name
        if best is not None and found is not None and best.score.total is not None:
            assert found == best


@pytest.mark.parametrize("device", DEVICES)
def test_the_first_of_the_list_are_the_same_when_only_they_are_asked_for(
    device: str, ask: Ask, catalog: Catalog
) -> None:
    """Looking for three, ten or two hundred models gives the head of the whole list."""
    target, workload = ask(device, task="chat")
    recommender = Recommender(catalog.models, workload)
    everything = recommender.ranked(target)
    for most in (1, 3, 10, 200):
        assert recommender.ranked(target, most) == everything[:most]


def test_a_card_whose_memory_is_not_known_bounds_nothing(catalog: Catalog) -> None:
    """What could fit on it is not left out for being larger than the host's memory, and a given budget holds."""
    card = {"name": "a card", "vendor": "NVIDIA", "backend": "cuda", "shared_memory": False}
    fields = {"name": "box", "memory": {"budget_cleared_bytes": 4_000_000_000}, "accelerators": [card]}
    device = read_device(fields)
    assert make_target(device, make_workload(), strict=False).room == math.inf
    given = make_target(device, make_workload(memory_budget="3GB"), strict=False)
    assert given.room == 3_000_000_000


def test_a_native_type_smaller_than_a_lossy_one_is_found(ask: Ask, catalog: Catalog) -> None:
    """gpt-oss is released in MXFP4: nothing bigger is better, though a bigger one would fit."""
    target, workload = ask("Apple M2 Pro", task="general", memory_budget="24GB")
    ranked = recommend([catalog.find("gpt-oss-20b")], target, workload).ranked
    assert [candidate.variant.quant for candidate in ranked] == ["MXFP4"]


def test_a_model_llama_cpp_cannot_run_is_never_listed(ask: Ask, catalog: Catalog) -> None:
    """Whatever the device, unsupported models are excluded by the engine."""
    target, workload = ask("NVIDIA GeForce RTX 4070", task="general")
    result = recommend(catalog.models, target, workload)
    listed = {candidate.model.id for candidate in result.ranked}
    unsupported = [model for model in catalog.models if model.unsupported]
    assert unsupported
    for model in unsupported:
        assert model.id not in listed
        assert exclusions(model, workload)[0].constraint == "engine"


def test_a_bigger_budget_never_shortens_the_list(ask: Ask, catalog: Catalog) -> None:
    """What fits in 4 GB fits in 8 GB."""
    small = recommend(catalog.models, *ask("laptop", memory_budget="4GB"))
    large = recommend(catalog.models, *ask("laptop", memory_budget="8GB"))
    assert {c.model.id for c in small.ranked} <= {c.model.id for c in large.ranked}
    assert len(small.ranked) < len(large.ranked)


def test_licenses_filter_by_class_and_by_name(ask: Ask, catalog: Catalog) -> None:
    """--license permissive lists only permissive licences, --license apache-2.0 only that one."""
    permissive = recommend(catalog.models, *ask("laptop", licenses=("permissive",)))
    assert {candidate.model.license_class for candidate in permissive.ranked} == {"permissive"}
    apache = recommend(catalog.models, *ask("laptop", licenses=("apache-2.0",)))
    assert {candidate.model.license for candidate in apache.ranked} == {"Apache-2.0"}


@pytest.mark.parametrize(
    ("need", "named"), [({"licenses": ("wtfpl-9",)}, "wtfpl-9"), ({"families": ("gpt-6",)}, "gpt-6")]
)
def test_a_filter_that_no_model_could_meet_is_refused(
    need: dict[str, object], named: str, ask: Ask, catalog: Catalog
) -> None:
    """A misspelt licence or family is bad input, not an empty list."""
    with pytest.raises(InvalidInputError, match=named):
        recommend(catalog.models, *ask("laptop", **need))


def test_the_pareto_front_is_not_beaten_and_the_rest_is(ask: Ask, catalog: Catalog) -> None:
    """No listed model is better than a marked one in all three; each unmarked one of known quality is beaten."""
    result = recommend(catalog.models, *ask("laptop", task="chat"))
    points = {
        c.model.id: (c.quality.value, c.speed.tg.value, -c.memory.reserved_high_bytes)
        for c in result.ranked
        if c.quality.value is not None and c.speed is not None
    }
    for name, point in points.items():
        beaten = any(
            other != point and all(theirs >= ours for theirs, ours in zip(other, point, strict=True))
            for other in points.values()
        )
        assert beaten != (name in result.pareto)


def test_labels_of_equal_size_are_one_variant(catalog: Catalog) -> None:
    """On Gemma 3 270M many labels fall back to the same types: each size is looked at once."""
    model = catalog.find("gemma-3-270m-it")
    kept = distinct_variants(model)
    assert len(kept) < len(model.variants)
    sizes = [variant.tensor_bytes for variant in kept]
    assert sizes == sorted(set(sizes), reverse=True)


def test_explain_names_what_binds_and_changes_that_help(ask: Ask, catalog: Catalog) -> None:
    """An 8B in Q8_0 on a Raspberry Pi is too slow; every change that is offered lets it in when it is made."""
    target, workload = ask("Raspberry Pi 5 8GB", task="chat")
    model = catalog.find("Llama-3.1-8B-Instruct")
    explanation = explain(model, "Q8_0", target, workload)
    assert not explanation.fits
    assert {"decode speed"} <= {shortfall.constraint for shortfall in explanation.shortfalls}
    assert len(explanation.variants) == len(distinct_variants(model))
    for change in explanation.changes:
        assert change.message


def test_a_lower_floor_that_is_offered_lets_the_model_in(ask: Ask, catalog: Catalog) -> None:
    """The tokens per second that `explain` offers to accept are enough to ask for."""
    target, workload = ask("Raspberry Pi 5 8GB", task="general", max_ttft_s=3600.0)
    model = catalog.find("Llama-3.2-3B-Instruct")
    explanation = explain(model, "Q8_0", target, workload)
    offered = [change for change in explanation.changes if change.change == "min-tg"]
    assert offered, [describe(shortfall) for shortfall in explanation.shortfalls]
    assert isinstance(offered[0].value, float)
    patient = make_workload(task="general", max_ttft_s=3600.0, min_tg_tokens_per_s=offered[0].value)
    assert explain(model, "Q8_0", target, patient).fits


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    context=st.sampled_from([1024, 4096, 8192, 32768]),
    floor=st.floats(0.0, 40.0),
    device=st.sampled_from(DEVICES),
)
def test_asking_for_more_never_lets_more_models_in(
    catalog: Catalog, context: int, floor: float, device: str
) -> None:
    """A higher floor or a longer context only removes models."""
    loose = make_workload(
        context_length=context, prompt_tokens=256, answer_tokens=128, min_tg_tokens_per_s=floor
    )
    tight = make_workload(
        context_length=context * 2, prompt_tokens=256, answer_tokens=128, min_tg_tokens_per_s=floor * 1.5
    )
    target = target_of(device, make_workload())
    sample = catalog.models[::12]
    many = {candidate.model.id for candidate in recommend(sample, target, loose).ranked}
    few = {candidate.model.id for candidate in recommend(sample, target, tight).ranked}
    assert few <= many


@pytest.mark.parametrize(
    ("family", "word", "matches"),
    [
        ("Qwen3", "qwen", True),
        ("Qwen3", "qwen3", True),
        ("Qwen3.5", "qwen3", False),
        ("Gemma 3", "gemma", True),
        ("Gemma 3n", "gemma 3", True),
        ("Granite 4", "qwen", False),
    ],
)
def test_a_family_word_matches_its_generations(family: str, word: str, matches: bool) -> None:
    """A bare name takes all generations, a name with a number only that one."""
    assert family_matches(family, (word,)) is matches


def test_a_model_nobody_scored_is_not_given_its_smallest_file_for_that(ask: Ask, catalog: Catalog) -> None:
    """Its quality is unknown, what a quantization costs it is not: a 150M model in one bit is no answer."""
    target, workload = ask("laptop", task="general")
    model = catalog.find("llm-jp-3-150m-instruct3")
    candidate = explain(model, None, target, workload).candidate
    assert candidate is not None
    assert candidate.quality.value is None
    assert candidate.variant.bits_per_weight > 4


def test_a_language_no_model_lists_is_refused(ask: Ask, catalog: Catalog) -> None:
    """ "jp" is a country: the message offers the codes there are, "ja" among them."""
    with pytest.raises(InvalidInputError, match=r"'jp'.*ja"):
        recommend(catalog.models, *ask("laptop", languages=("jp",)))


def test_a_smaller_cache_is_tried_where_the_default_fits_and_is_too_slow(ask: Ask, catalog: Catalog) -> None:
    """Or more memory would cost a model: with less of it the smaller cache was taken, and was quick enough."""
    need = {"context_length": 32_768, "prompt_tokens": 30_000, "answer_tokens": 200, "max_ttft_s": 80_000.0}
    target, workload = ask("laptop", min_tg_tokens_per_s=0.0, **need)
    model = catalog.find("llama-3.1-8b")
    variant = model.variant("Q4_K_M")
    default = next(candidates(Choice(model, variant, workload), target))
    assert default.settings.type_k == "f16"
    small = msgspec.structs.replace(default.settings, type_k="q8_0", type_v="q8_0")
    quicker = evaluate(model, variant, target, default.place, small, workload)
    assert default.speed is not None
    assert quicker.speed is not None
    floor = (default.speed.tg.low + quicker.speed.tg.low) / 2
    target, workload = ask("laptop", min_tg_tokens_per_s=floor, **need)
    chosen = next(candidates(Choice(model, variant, workload), target))
    assert chosen.settings.type_k == "q8_0"
    assert chosen.feasible


def test_a_budget_beyond_the_memory_there_is_adds_none(ask: Ask, catalog: Catalog) -> None:
    """`--memory-budget 500GB` does not put 30 GB on a board with 4, nor beyond the limit of a control group."""
    need = {"memory_budget": "500GB", "min_tg_tokens_per_s": 0.01, "max_ttft_s": 80_000.0}
    target, workload = ask("Raspberry Pi 5 4GB", **need)
    for candidate in recommend(catalog.models, target, workload).ranked:
        assert candidate.memory.reserved_high_bytes <= 4 << 30
    memory = msgspec.structs.replace(target.device.memory, limit_bytes=2 << 30)
    limited = make_target(msgspec.structs.replace(target.device, memory=memory), workload)
    assert limited.host_bytes == 2 << 30


@pytest.mark.parametrize("model", ["Qwen3-0.6B", "Qwen3-1.7B", "Llama-3.2-3B-Instruct", "Qwen3-14B"])
def test_the_option_that_is_offered_is_enough(model: str, ask: Ask, catalog: Catalog) -> None:
    """What `--min-tg` and a download are said to need is rounded to the side that lets the model in."""
    target, workload = ask("NVIDIA GeForce RTX 4070", min_tg_tokens_per_s=5000.0)
    (change,) = (c for c in explain(catalog.find(model), "Q4_K_M", target, workload).changes)
    floor = float(change.message.split("--min-tg ")[1].rstrip(")"))
    target, workload = ask("NVIDIA GeForce RTX 4070", min_tg_tokens_per_s=floor)
    assert explain(catalog.find(model), "Q4_K_M", target, workload).fits
    target, workload = ask("NVIDIA GeForce RTX 4070", max_download="1MB")
    (change,) = explain(catalog.find(model), "Q4_K_M", target, workload).changes
    assert change.change == "max-download"
    target, workload = ask(
        "NVIDIA GeForce RTX 4070", max_download=change.message.removeprefix("allow a download of ")
    )
    assert explain(catalog.find(model), "Q4_K_M", target, workload).fits


def test_another_task_is_offered_with_what_it_implies(ask: Ask, catalog: Catalog) -> None:
    """A model of 4,096 tokens is not offered for task general, whose context is 8,192, in place of translate."""
    model = next(
        m for m in catalog.models if m.runnable and m.context_length == 4096 and "translate" not in m.tasks
    )
    target, workload = ask("NVIDIA GeForce RTX 4070", task="translate")
    offered = explain(model, None, target, workload).changes
    assert "task" not in {change.change for change in offered}
