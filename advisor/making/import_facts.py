"""Write advisor/catalog/*.toml from the collected facts: the catalog's first draft.

    python -m advisor.making.import_facts FACTS_FOLDER [--overwrite]

Reads `architectures.json` and `quality.csv` from the folder, and from beside this file the tables
`data/catalog-import.toml`, `data/more-models.toml` and `data/gguf-repos.csv`. The TOML files are the source of
truth once written and are edited by hand; without `--overwrite` only missing files are written.
"""

from __future__ import annotations

import argparse
import copy
import csv
import fnmatch
import json
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from advisor.catalog import CATALOG_FOLDER
from advisor.catalog_file import Entry, Family, Result, Scores, write_family
from advisor.making.architectures import architecture_of, published_parameters
from quantize.architecture import Architecture, active_parameter_count

DATA = Path(__file__).with_name("data")


def main() -> None:
    """Write the files and say which."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("facts", type=Path, help="folder with architectures.json and quality.csv")
    parser.add_argument("--overwrite", action="store_true", help="replace files that people may have edited")
    arguments = parser.parse_args()
    tables = tomllib.loads((DATA / "catalog-import.toml").read_text())
    collected = json.loads((arguments.facts / "architectures.json").read_text())
    collected += _more_models({fact["hf_id"]: fact for fact in collected})
    with (arguments.facts / "quality.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (DATA / "gguf-repos.csv").open(newline="") as file:
        gguf: dict[str, list[str]] = defaultdict(list)
        for row in csv.DictReader(file):
            gguf[row["model"]].append(row["gguf_repo"])

    ids = {fact["hf_id"] for fact in collected}
    texts = {**_score_sources(rows, tables), **tables["sources"]}
    scores = _scores([row for row in rows if row["model"] in ids], texts)
    families: dict[str, list[Entry]] = defaultdict(list)
    for fact in collected:
        families[_family(fact, tables)].append(
            _entry(fact, tables, gguf[fact["hf_id"]], scores.get(fact["hf_id"], ()))
        )
    for name, entries in families.items():
        path = CATALOG_FOLDER / f"{slug(name)}.toml"
        if path.exists() and not arguments.overwrite:
            print(f"kept {path.name}")
            continue
        used = {key for entry in entries for key in entry.sources.values()}
        used |= {group.source for entry in entries for group in entry.scores}
        family = Family(name, {key: texts[key] for key in sorted(used)}, tuple(entries))
        path.write_text(write_family(family, f"{name}: models, their facts and where each fact is from."))
        print(f"wrote {path.name}: {len(entries)} models")


def slug(name: str) -> str:
    """A family's file name: "DeepSeek-R1-Distill" -> "deepseek-r1-distill"."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")


def _more_models(collected: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The models of `data/more-models.toml`, in the form of the collected facts."""
    found = []
    for row in tomllib.loads((DATA / "more-models.toml").read_text())["model"]:
        fact = copy.deepcopy(collected[row["like"]])
        fact["hf_id"] = row["id"]
        fact["family"] = row.get("family", fact["family"])
        fact["arch"] |= row["dimensions"]
        fact["params"] = {"total_stored": row["parameters"], "check": "exact"}
        fact["license"]["id"] = row.get("license", fact["license"]["id"])
        fact["languages"] = row.get("languages", fact["languages"])
        fact["release_date"] = row["release_date"]
        fact["sources"], fact["notes"], fact["unverified"] = ["llmfit"], [], []
        if "context_length" in row:
            fact["context_length"] = {"value": row["context_length"], "note": None}
        found.append(fact)
    return found


def _family(fact: dict[str, Any], tables: dict[str, Any]) -> str:
    renamed: str = tables["families"].get(fact["family"], fact["family"])
    return renamed


def _entry(fact: dict[str, Any], tables: dict[str, Any], gguf: list[str], scores: Iterable[Scores]) -> Entry:
    model_id: str = fact["hf_id"]
    name = model_id.split("/")[1]
    dimensions = _source_of_dimensions(fact)
    counted = "llmfit" if fact["params"]["total_stored"] else dimensions
    sources = {"parameters": counted}
    license_id, license_class, sources["license"] = _license(fact, tables)
    sources["gated"] = "llmfit"
    languages, languages_note, sources["languages"] = _languages(fact, tables)
    context = fact["context_length"]
    sources["context_length"] = "model-card" if context["note"] and "card" in context["note"] else "llmfit"
    date = re.match(r"\d{4}(-\d{2}(-\d{2})?)?", fact["release_date"] or "")
    sources["release_date"] = "llmfit"
    official = _first_match(model_id, tables["official_gguf"]) or ""
    makers = [official.format(name=name)] if official else []
    repos = list(dict.fromkeys(makers + gguf))
    sources["gguf_repos"] = "llmfit"
    sources |= {f"gguf_repos.{repo}": "general-knowledge" for repo in makers if repo not in gguf}
    ollama, sources["ollama"] = _ollama(model_id, tables)
    sources["tasks"] = "derived"
    sources["weights"] = "hub"
    architecture, unsupported = architecture_of(fact)
    sources["architecture"] = dimensions
    parameters, check, note = published_parameters(fact, architecture)
    entry = Entry(
        id=model_id,
        name=name,
        aliases=tuple(tables["aliases"].get(model_id, ())),
        parameters=parameters,
        parameters_check=check,
        parameters_note=note,
        unsupported=unsupported or tables["unsupported"].get(model_id),
        license=license_id,
        license_class=license_class,
        gated=fact["license"]["gated"],
        languages=languages,
        languages_note=languages_note,
        context_length=context["value"],
        context_note=context["note"] or "",
        release_date=date[0] if date else None,
        modality=fact["modality"].split(" ")[0],
        tasks=tasks(model_id, _active(parameters, architecture), languages, tables),
        weights=model_id,
        gguf_repos=tuple(repos),
        ollama=ollama,
        unverified=tuple(fact["unverified"]),
        notes=tuple(
            n for n in fact["notes"] if not n.startswith(("tie_word_embeddings=false inferred", "llmfit "))
        ),
        architecture=architecture,
        scores=tuple(scores),
    )
    known = {fact_name: key for fact_name, key in sources.items() if _is_known(entry, fact_name)}
    return Entry(**{f: getattr(entry, f) for f in Entry.__struct_fields__ if f != "sources"}, sources=known)


def _is_known(entry: Entry, fact: str) -> bool:
    return "." in fact or getattr(entry, fact) not in (None, ())


def _source_of_dimensions(fact: dict[str, Any]) -> str:
    """The strongest source the dimensions have: key in the tables' [sources]."""
    text = " ".join(fact["sources"])
    if "inferred by scaling" in text:
        return "inferred"
    for mark, key in (
        ("aiconfigurator", "aiconfigurator"),
        ("MobileLLM-R1", "mobilellm-r1"),
        ("facebookresearch/MobileLLM ", "mobilellm"),
        ("llmfit", "llmfit"),
        ("litgpt", "litgpt"),
        ("transformers", "transformers"),
    ):
        if mark in text:
            return key
    return "general-knowledge"


def _license(fact: dict[str, Any], tables: dict[str, Any]) -> tuple[Any, Any, str]:
    named = tables["license_of"].get(fact["hf_id"])
    if named:
        return named[0], named[1], "general-knowledge"
    license_id, license_class = tables["licenses"][fact["license"]["id"]]
    return license_id, license_class, "llmfit"


def _languages(fact: dict[str, Any], tables: dict[str, Any]) -> tuple[tuple[str, ...] | None, str, str]:
    stated: list[str] | None = fact["languages"]
    if not stated:
        for start, listed in tables["languages"].items():
            if fact["hf_id"].startswith(start):
                return tuple(listed), "", "general-knowledge"
        return None, "", ""
    lists = [tables["language_statements"].get(text) for text in stated]
    if any(lists):
        codes = [code for key in lists if key for code in tables["language_lists"][key]]
        return tuple(codes), f"stated: {', '.join(stated)}; the widely used ones are listed", "model-card"
    return tuple(stated), "", "llmfit"


def _ollama(model_id: str, tables: dict[str, Any]) -> tuple[str | None, str]:
    for source, names in tables["ollama"].items():
        if model_id in names:
            return names[model_id], source
    return None, ""


def _first_match(model_id: str, patterns: dict[str, Any]) -> Any:
    return next((value for p, value in patterns.items() if fnmatch.fnmatchcase(model_id, p)), None)


def tasks(
    model_id: str, active: int, languages: tuple[str, ...] | None, tables: dict[str, Any]
) -> tuple[Any, ...]:
    """The tasks a model is made for, from what its name and card say.

    - A base model (no instruct tuning) is for "general": completion, and a start for tuning.
    - A model that only thinks ("Thinking", "Reasoning", "R1", "Think", "Z1") is for "reasoning" and "general".
    - An instruct model is for "chat", "general", "summarize" and "extract"; for "translate" with two languages
      or more; for "agent" when its card says it calls tools; for "reasoning" when it can think;
      for "coding" with 3 billion parameters or more; for "voice" with 3.5 billion or less, to be quick.

    `active` is the number of parameters one token passes.
    """
    stated = _first_match(model_id, tables["tasks"])
    if stated:
        return tuple(stated)
    name = model_id.split("/")[1].lower()

    def fits(group: str) -> bool:
        return any(fnmatch.fnmatchcase(model_id, pattern) for pattern in tables[group]["patterns"])

    if re.search(r"pythia|-base\b|mobilellm-\d|monad|^phi-2$|plamo-2-1b|swash|hrm-text|mobilellm-pro", name):
        return ("general",)
    if re.search(r"thinking|reasoning|\bthink\b|-r1-|-r1$|deepseek-r1|-z1-|exaone-deep|h1r", name):
        return ("reasoning", "general")
    thinks, tools = fits("thinks"), fits("tools")
    made_for = ["chat", "general", "summarize", "extract"]
    if languages and len(languages) > 1:
        made_for.append("translate")
    if tools:
        made_for.append("agent")
    if thinks:
        made_for.append("reasoning")
    if active >= 3e9:
        made_for.append("coding")
    if active <= 3.5e9:
        made_for.append("voice")
    return tuple(made_for)


def _active(parameters: int, arch: Architecture | None) -> int:
    """Parameters that a token passes: without experts it is not routed to and without look-up tables."""
    if arch is None:
        return parameters
    looked_up = arch.n_layer * (arch.n_embd_per_layer or 0) * arch.n_vocab
    return active_parameter_count(arch) - looked_up


def _score_sources(rows: list[dict[str, str]], tables: dict[str, Any]) -> dict[str, str]:
    """Key -> text of each source in quality.csv; keys that no table gives are made from the text."""
    keys: dict[str, str] = {}
    for text in sorted({row["source"] for row in rows}):
        base = next((key for start, key in tables["score_sources"].items() if text.startswith(start)), "")
        collected = re.search(r"data/organizations/[^/]+/models/([^/]+)/", text)
        if collected:
            base = f"llm-leaderboard-{collected[1]}"
        if not base:
            base = slug(re.sub(r"^github |benchmarks\.json|\.(csv|md|json|yml)\b", "", text.split("->")[0]))
            base = "-".join(base.replace(".", "-").split("-")[:6]).strip("-")
        base = base.replace(".", "-")
        key, n = base, 2
        while key in keys:
            key, n = f"{base}-{n}", n + 1
        keys[key] = text
    return keys


def _scores(rows: list[dict[str, str]], texts: dict[str, str]) -> dict[str, list[Scores]]:
    """Scores by model, in groups of one harness, source and unit."""
    key_of = {text: key for key, text in texts.items()}
    grouped: dict[str, dict[tuple[str, ...], list[Result]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        note = "" if row["notes"].startswith("params=") else row["notes"]
        uniform = "within table" if "within" in row["uniform_harness"] else row["uniform_harness"]
        group = (row["harness"], key_of[row["source"]], row["unit"], uniform, row["date"], note)
        value, bound = _number(row["score"])
        setting = "; ".join(text for text in (row["setting"], bound) if text)
        grouped[row["model"]][group].append(Result(row["benchmark"], value, setting))
    return {
        model: [_group(group, results) for group, results in groups.items()]
        for model, groups in grouped.items()
    }


def _group(group: tuple[str, ...], results: list[Result]) -> Scores:
    harness, source, unit, uniform, date, note = group
    common = {result.setting for result in results}
    setting = common.pop() if len(common) == 1 else ""
    if setting:
        results = [Result(result.benchmark, result.value) for result in results]
    return Scores(
        harness=harness,
        source=source,
        unit=unit,
        uniform=uniform,  # type: ignore[arg-type]
        date=date,
        setting=setting,
        note=note,
        results=tuple(results),
    )


def _number(score: str) -> tuple[float, str]:
    """A score as a number, and what it bounds: RULER gives effective lengths as "32K", ">128K", "<4K"."""
    match = re.fullmatch(r"([<>]?)(\d+)K", score)
    if not match:
        return float(score), ""
    return int(match[2]) * 1024.0, {"": "", ">": "the true value is higher", "<": "the true value is lower"}[
        match[1]
    ]


if __name__ == "__main__":
    main()
