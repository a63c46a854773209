"""Running a deployment here: with made-up weights, or its file. What goes wrong is posted, not raised."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from textual.message import Message

from advisor.candidates import Candidate
from advisor.language import _
from advisor.sentences import translated
from advisor.target import Target
from advisor.tui.messages import TrialDone, TrialFailed, TrialProgress, TrialSample
from advisor.tui.state import Problem
from advisor.tui.work.failing import in_words
from advisor.workload import Workload
from profiles.engine.stop import Stop
from profiles.throughput import Progress

Post = Callable[[Message], object]


def probe_here(
    candidate: Candidate, target: Target, workload: Workload, stop: Stop, strict: bool, post: Post
) -> None:
    """As `slm-advisor recommend --confirm` does it."""
    from advisor.probe_candidate import probe_once
    from advisor.trial import trial_of_probe

    def report(text: str) -> None:
        stop.check()
        post(TrialProgress(translated(text)))

    def sampled(rate: float) -> None:
        post(TrialSample("tg", rate))

    def run() -> Message:
        found = probe_once(
            candidate,
            target,
            workload,
            report,
            strict=strict,
            new_engine=stop.engine,
            sampled=sampled,
        )
        return TrialDone(trial_of_probe(candidate, found, kept=strict))

    _guarded(run, stop, _uses_card(candidate), post)


def bench_here(
    path: Path, candidate: Candidate, target: Target, workload: Workload, stop: Stop, strict: bool, post: Post
) -> None:
    """As `slm-advisor bench` does it, with the candidate's settings and the workload's lengths."""
    from advisor.bench import Watcher, bench
    from advisor.report.bench_documents import bench_document
    from advisor.trial import plan_for, trial_of_bench

    def tests(progress: Progress) -> None:
        stop.check()
        post(TrialProgress(progress_in_words(progress)))
        if progress.test is not None and progress.tokens_per_s is not None:
            post(TrialSample(progress.test.name, progress.tokens_per_s))

    def run() -> Message:
        plan = plan_for(candidate, workload, strict=strict)
        with stop.engine() as engine:
            result = bench(path, plan, engine, target.device, Watcher(tests=tests))
        return TrialDone(trial_of_bench(result, kept=strict), bench_document(result))

    _guarded(run, stop, _uses_card(candidate), post)


def progress_in_words(progress: Progress) -> str:
    """Where a bench is."""
    if progress.test is None:
        waiting = _("looking whether the machine is quiet")
        return waiting if progress.phase == "waiting" else _("loading the model")
    words = _("test {number} of {tests}: {test}, repetition {repetition} of {repetitions}").format(
        number=progress.test_number,
        tests=progress.tests,
        test=progress.test.name,
        repetition=progress.repetition,
        repetitions=progress.repetitions,
    )
    if progress.round > 1:
        words += _(", again (round {round})").format(round=progress.round)
    if progress.left_s is not None:
        words += _(", {seconds:.0f} s left").format(seconds=progress.left_s)
    return words


def _guarded(run: Callable[[], Message], stop: Stop, gpu: bool, post: Post) -> None:
    """Run, watch meanwhile, and post how it ended."""
    from advisor.errors import AdvisorError
    from advisor.tui.work.watching import watch
    from profiles.errors import NoisyError, ProfilesError
    from quantize.errors import QuantizeError

    done = threading.Event()
    watcher = threading.Thread(target=watch, args=(stop, done, gpu, post), daemon=True)
    watcher.start()
    try:
        answer: Message = run()
    except (AdvisorError, ProfilesError, QuantizeError, OSError) as error:
        answer = TrialFailed(Problem(in_words(error)), noisy=isinstance(error, NoisyError))
    finally:
        done.set()
        watcher.join()
    post(TrialFailed(None) if stop.stopped else answer)


def _uses_card(candidate: Candidate) -> bool:
    return candidate.settings.offload_layers > 0
