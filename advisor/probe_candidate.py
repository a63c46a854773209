"""One candidate of a recommendation, run here with synthetic weights and kept."""

from __future__ import annotations

from collections.abc import Callable

from advisor.candidates import Candidate
from advisor.confirm import Failure
from advisor.errors import AdvisorError
from advisor.measurements import Measurement, record
from advisor.probe import measurements_of, probe
from advisor.target import Target
from advisor.workload import Workload
from profiles.engine.client import Engine
from profiles.errors import EngineAbsentError, EngineError, ProfilesError
from profiles.text import rate
from quantize.errors import QuantizeError


def probe_candidate(
    candidate: Candidate, target: Target, workload: Workload, report: Callable[[str], None]
) -> tuple[Measurement, ...] | Failure:
    """As `probe_once`, for a list that goes on with the next candidate: what went wrong is reported and returned.

    Raises EngineAbsentError where there is no engine.
    """
    try:
        return probe_once(candidate, target, workload, report)
    except EngineAbsentError:
        raise
    except (AdvisorError, ProfilesError, QuantizeError, OSError) as error:
        failure = Failure(_reason(error), isinstance(error, EngineError) and error.failure.kind == "refused")
        report(failure.reason)
        return failure


def probe_once(
    candidate: Candidate,
    target: Target,
    workload: Workload,
    report: Callable[[str], None],
    *,
    strict: bool = True,
    new_engine: Callable[[], Engine] = Engine,
    sampled: Callable[[float], None] = lambda _: None,
) -> tuple[Measurement, ...]:
    """Probe it with its settings and the workload's lengths; `report` is told how far it is, and what came out.

    Without `strict` a busy machine is measured all the same, and nothing is kept. Raises what `probe` raises, and
    StoppedError where `new_engine` was stopped.
    """
    result = probe(
        candidate.model,
        candidate.variant,
        target,
        candidate.place,
        candidate.settings,
        n_prompt=workload.prompt_tokens,
        n_gen=workload.answer_tokens,
        report=report,
        strict=strict,
        new_engine=new_engine,
        sampled=sampled,
    )
    report(f"generates {rate(result.tg.value)} tokens/s, reads prompts at {rate(result.pp.value)}")
    found = measurements_of(result, target)
    if not strict:
        return found
    for problem in dict.fromkeys(filter(None, (record(each) for each in found))):
        report(problem)
    return found


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
    return str(error)
