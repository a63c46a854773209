"""`verify --as`: the deployment run on this machine under another device's memory limit and number of cores.

What this shows is that it loads and answers within them. Speed is not shown but scaled: the target's estimate times
what was measured here over what is estimated for here, so that what the estimate gets wrong of the model itself
cancels out. docs/how-to/rehearse.md says what is limited how, and what a rehearsal cannot tell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from advisor.evidence import Value, worse
from advisor.manifest import DeploymentManifest, Speeds
from advisor.measured_speed import KnownSpeeds
from advisor.target import Target
from advisor.verify_checks import Check, Status, limit
from advisor.verify_estimate import estimate, memory_checks
from advisor.verify_here import Case, Outcome, Rehearsal, ask_version, loads, said, words
from advisor.verify_run import Ran, run, run_settings
from profiles.device import Device
from profiles.engine.client import Engine
from profiles.engine.protocol import EngineFailure
from profiles.errors import EngineError
from profiles.limits import METHODS, Limits, Method, confine, usable_cores
from profiles.orderly_end import orderly_end
from profiles.text import amount


def clamped(manifest: DeploymentManifest, device: Device) -> DeploymentManifest:
    """The manifest with no more threads than the device has cores."""
    cores, settings = cores_of(device), manifest.settings
    if cores is None:
        return manifest
    settings = msgspec.structs.replace(
        settings,
        threads=None if settings.threads is None else min(settings.threads, cores),
        threads_batch=None if settings.threads_batch is None else min(settings.threads_batch, cores),
    )
    return msgspec.structs.replace(manifest, settings=settings)


def cores_of(device: Device) -> int | None:
    """Cores of the device that a process may use; None where it is not known."""
    cpu = device.cpu
    cores = cpu.cores or (cpu.performance_cores or 0) + (cpu.efficiency_cores or 0) or cpu.threads
    known = [count for count in (cores, cpu.usable_threads) if count]
    return min(known) if known else None


def rehearse(case: Case, here: Target, methods: Sequence[Method] = METHODS) -> Outcome:
    """Run `case`, whose target is another device, on this machine, which is `here`.

    `methods` are the ways to limit memory that may be used, the first that works is.

    A deployment for an accelerator with memory of its own is not run: the processor here cannot stand for it.
    """
    problem = _obstacle(case, here)
    if problem:
        memory = memory_checks(case.estimated, case.target, None)
        return Outcome(checks=(*memory, loads("unknown", problem)), problem=problem)
    bound, cores = _memory_bound(case), cores_of(case.target.device)
    own = here.device.memory.budget_now_bytes
    unbound = bound is None or (own is not None and bound >= own)
    imposed = None if unbound else bound
    with orderly_end(), confine(memory_bytes=imposed, cores=cores, methods=methods) as limits:
        if unbound:
            has = "is not known" if bound is None else f"is {amount(bound)}"
            message = f"what the target has for it {has}, and this machine has {amount(own or 0)} now"
            limits = msgspec.structs.replace(limits, memory_problem=message)
        with Engine(prefix=limits.prefix) as engine:
            return _Act(case, here, bound, cores, limits, engine).play()


def scaled(predicted: Value, measured: Value, predicted_here: Value) -> Value:
    """A speed on the target: its prediction times what was measured here over what is predicted for here.

    The three are wrong independently of each other, so their intervals add up as logarithms do, in squares: the result
    is less certain than any of them. It is known as well as the worse of the two predictions, `calibrated` at best.
    """
    value = predicted.value * measured.value / predicted_here.value
    ups = (predicted.high / predicted.value, measured.high / measured.value)
    downs = (predicted.value / predicted.low, measured.value / measured.low)
    up = math.hypot(*map(math.log, ups), math.log(predicted_here.value / predicted_here.low))
    down = math.hypot(*map(math.log, downs), math.log(predicted_here.high / predicted_here.value))
    grade = worse(predicted.evidence, predicted_here.evidence, "calibrated")
    return Value(value, value * math.exp(-down), value * math.exp(up), grade)


def _obstacle(case: Case, here: Target) -> str:
    """Why nothing can be rehearsed; empty where it can."""
    place, backend = case.estimated.place, case.manifest.backend
    if place is None:
        return f"nothing was run: {case.estimated.problem}"
    if backend != "cpu" and not place.shared:
        return (
            f"nothing was run: it is pinned for {backend} with memory of its own, for which the processor of this "
            "machine cannot stand"
        )
    memory, own, bound = case.estimated.memory, here.device.memory.budget_now_bytes, _memory_bound(case)
    if memory is None or own is None or (bound is not None and bound < own) or memory.reserved.value <= own:
        return ""
    return f"nothing was run: it needs more than the {amount(own)} that this machine has now"


def _memory_bound(case: Case) -> int | None:
    """What the target's budget leaves to a deployment: of unified memory what its accelerator may take, if less."""
    place = case.estimated.place
    amounts = [case.target.host_bytes]
    if place is not None and place.shared:
        amounts.append(place.memory_bytes)
    known = [each for each in amounts if each is not None]
    return min(known) if known else None


class _Act:
    """One rehearsal, with its limits in force and an engine that has not been asked anything."""

    def __init__(
        self, case: Case, here: Target, bound: int | None, cores: int | None, limits: Limits, engine: Engine
    ) -> None:
        self.case, self.here, self.bound, self.cores = case, here, bound, cores
        self.limits, self.engine = limits, engine
        place = case.estimated.place
        assert place is not None
        pinned = case.manifest.settings
        threads = pinned.threads or place.processor.threads
        batch = pinned.threads_batch or place.processor.threads_batch or threads
        there = len(usable_cores()) or threads
        # On the CPU whatever it is pinned for, and never with more threads than there are cores for.
        settings = msgspec.structs.replace(
            pinned, offload_layers=0, threads=min(threads, there), threads_batch=min(batch, there)
        )
        self.manifest = msgspec.structs.replace(case.manifest, backend="cpu", settings=settings)

    def play(self) -> Outcome:
        case = self.case
        weights = 0 if case.file is None else case.file.variant.tensor_bytes
        if self.limits.method == "RLIMIT_DATA" and self.bound is not None and weights > self.bound:
            # Not worth a try: Python itself hangs where it is refused memory at a bad moment.
            return self._failed(
                Outcome(checks=()), "fail", f"its weights alone are {amount(weights)}", "fail"
            )
        found = ask_version(self.engine, self.manifest)
        if isinstance(found, Outcome):
            (engine,) = found.checks
            if found.engine_missing:
                checks = (engine, self._memory_check("unknown", found.problem))
                return msgspec.structs.replace(found, checks=checks)
            memory, why, ran_ = self._cause(engine.message)
            if self.limits.method is not None:  # under a limit nobody can tell what is wrong with it
                engine = msgspec.structs.replace(engine, status="unknown")
            return self._failed(Outcome(checks=(engine,)), memory, why, ran_)
        version, name, notes = found
        engine = Check(id="engine", title="Engine", status="pass", found=words(version))
        before = Outcome(checks=(engine,), engine=name, notes=notes)
        case.progress(f"loading and timing as {_name(case.target)}")
        try:
            ran = run(
                self.engine,
                case.held.load_path,
                run_settings(self.manifest.settings, "cpu"),
                case.manifest.workload,
                case.manifest.settings.context_length,
                strict=case.strict,
                use_mmap=False,
            )
        except EngineError as error:
            return self._failed(before, *self._cause(said(error, case.held), error.failure))
        return self._ran(before, ran)

    def _cause(self, what: str, failure: EngineFailure | None = None) -> tuple[Status, str, Status]:
        """Of an engine that failed: the verdict on the memory limit, what to say of it, and the verdict on the run."""
        kind = None if failure is None else failure.kind
        if self.limits.oom_kills():
            return (
                "fail",
                (
                    "it needed more, and the kernel ended it: take a smaller quantization, a shorter context or a "
                    "smaller micro-batch"
                ),
                "fail",
            )
        last = f"{what} {'' if failure is None else failure.last_words}".lower()
        if self.limits.method == "RLIMIT_DATA" and ("memory" in last or "alloc" in last):
            return (
                "unknown",
                (
                    "it asked for more and was refused; how much it would have used only a control group can tell"
                ),
                "unknown",
            )
        # Somebody else ended it, it took too long, or it did not even start: that says nothing of the model.
        fault = kind in ("refused", "crashed")
        return "unknown", f"it failed before that could be told: {what}", "fail" if fault else "unknown"

    def _failed(self, before: Outcome, memory: Status, message: str, ran: Status) -> Outcome:
        """It did not answer: `message` says why, `memory` whether the limit is to blame."""
        checks = (
            *before.checks,
            *memory_checks(self.case.estimated, self.case.target, None),
            self._memory_check(memory, message),
            *self._cores_check(),
            loads(ran, "it did not: see the memory limit"),
        )
        problem = "the rehearsal gave no speed"
        return msgspec.structs.replace(
            before, checks=checks, problem=problem, rehearsal=self._rehearsal(None)
        )

    def _ran(self, before: Outcome, ran: Ran) -> Outcome:
        """It loaded and answered: what that says of the target."""
        case, on_cpu = self.case, self.case.manifest.backend == "cpu"
        peak = ran.speeds.memory_bytes
        shown = self.limits.method is not None
        checks = list(before.checks)
        if not (shown and on_cpu):
            checks += memory_checks(case.estimated, case.target, None)
        checks.append(self._memory_check("pass", "", peak))
        checks += self._cores_check()
        instead = "" if on_cpu else f"on the processor of this machine, not by {case.manifest.backend}"
        checks.append(loads("pass", instead))
        speeds, problem = None, ran.problem or ""
        if on_cpu and not problem:
            speeds, problem = self._scaled(ran)
        elif not on_cpu:
            problem = ""  # the target's estimate: the processor here says nothing of its accelerator
        return msgspec.structs.replace(
            before,
            checks=tuple(checks),
            speeds=speeds,
            problem=problem,
            notes=(*before.notes, *ran.notes),
            rehearsal=self._rehearsal(ran),
        )

    def _scaled(self, ran: Ran) -> tuple[Speeds | None, str]:
        """The speeds on the target, or why there are none."""
        there, measured = self.case.estimated.speeds, ran.speeds
        n_prompt, n_gen = measured.n_prompt or 1, measured.n_gen or 1
        workload = msgspec.structs.replace(
            self.manifest.workload, prompt_tokens=n_prompt, answer_tokens=n_gen
        )
        # Without what was measured here before, or the prediction would be the measurement.
        here = msgspec.structs.replace(self.here, known_speeds=KnownSpeeds())
        manifest = msgspec.structs.replace(self.manifest, workload=workload)
        predicted = estimate(manifest, self.case.file, here)
        values = [
            (getattr(there, name), getattr(measured, name), getattr(predicted.speeds, name))
            for name in ("pp_tokens_per_s", "tg_tokens_per_s")
        ]
        if any(value is None for row in values for value in row):
            why = self.case.estimated.problem or predicted.problem
            return None, f"the measured speed cannot be scaled: {why}"
        pp, tg = (scaled(*row) for row in values)
        tokens = self.case.manifest.workload.prompt_tokens
        first = Value(
            tokens / pp.value + 1 / tg.value,
            tokens / pp.high + 1 / tg.high,
            tokens / pp.low + 1 / tg.low,
            worse(pp.evidence, tg.evidence),
        )
        return Speeds(
            n_prompt=there.n_prompt,
            n_gen=there.n_gen,
            pp_tokens_per_s=pp,
            tg_tokens_per_s=tg,
            ttft_s=first,
            memory_bytes=measured.memory_bytes,
        ), ""

    def _memory_check(self, status: Status, message: str, peak: Value | None = None) -> Check:
        """`status` where the limit was in force; else unknown, whatever came of the run."""
        title = "Loads within the limit" if self.bound is None else f"Loads within {amount(self.bound)}"
        check = Check(id="memory-limit", title=title, status=status, message=message)
        if self.limits.method is None:
            why = f"not limited: {self.limits.memory_problem}"
            if peak is not None:
                why += f"; it had {amount(peak.value)} at most"
            elif message:
                why += f"; {message}"
            return msgspec.structs.replace(check, status="unknown", message=why)
        assert self.bound is not None
        if status != "pass":
            return msgspec.structs.replace(
                check, relation="at most", required=float(self.bound), unit="bytes"
            )
        missing = "how much it had is not known"
        held = limit("memory-limit", title, "at most", self.bound, peak, "bytes", missing=missing)
        if held.status != "fail":
            return held
        message = "it ran, and had more resident than that: shared code is not charged to its control group"
        return msgspec.structs.replace(held, status="unknown", message=message)

    def _cores_check(self) -> list[Check]:
        if self.cores is None:
            message = "how many cores the target has is not known"
            return [Check(id="cores", title="Runs on its cores", status="unknown", message=message)]
        title = f"Runs on {self.cores} core{'' if self.cores == 1 else 's'}"
        if self.limits.cores_problem:
            message = f"not limited: {self.limits.cores_problem}"
            return [Check(id="cores", title=title, status="unknown", message=message)]
        return [Check(id="cores", title=title, status="pass")]

    def _rehearsal(self, ran: Ran | None) -> Rehearsal:
        settings = self.manifest.settings
        return Rehearsal(
            device=_name(self.case.target),
            here=_name(self.here),
            method=self.limits.method,
            memory_limit_bytes=self.limits.memory_bytes,
            cores=len(self.limits.cpus) or None,
            threads=settings.threads,
            threads_batch=settings.threads_batch,
            measured=None if ran is None else ran.speeds,
            not_rehearsed=_not_rehearsed(self.case, self.here.device),
        )


def _name(target: Target) -> str:
    return target.device.name or target.device.cpu.name or "the device"


def _not_rehearsed(case: Case, here: Device) -> tuple[str, ...]:
    """What of the target this machine cannot show."""
    there = case.target.device
    cpu, own = there.cpu, here.cpu
    found = []
    if (
        cpu.architecture is None
        or cpu.isa is None
        or (cpu.architecture, cpu.isa) != (own.architecture, own.isa)
    ):
        found.append(
            f"its instruction set ({cpu.architecture or 'not known'}; here {own.architecture or 'not known'})"
        )
    found.append("its real memory bandwidth and clock")
    if cpu.efficiency_cores:
        found.append(f"its {cpu.efficiency_cores} slow cores: here all that were used count as fast")
    backends = dict.fromkeys(
        place.processor.backend for place in case.target.places if place.processor.backend != "cpu"
    )
    if case.manifest.backend != "cpu":
        found.append(
            f"its accelerator, by {case.manifest.backend}, for which it is pinned: it ran on the CPU"
        )
    elif backends:
        found.append("its accelerator")
    found.append("how hot it gets, and what its system and other programs take meanwhile")
    return tuple(found)
