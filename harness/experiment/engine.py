"""How an experiment is run: resolve, gate, inject, observe, revert, recover, judge.

Everything that is seen goes to the journal, and the verdict comes from the journal alone. Whatever happens,
what was changed is undone on the way out; what cannot be undone is said, and stays in the ledger for `heal`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version

from harness import journal as log
from harness.caveats import Cautioned
from harness.changes import Change, need_open
from harness.errors import HarnessError
from harness.experiment.beats import Beats
from harness.experiment.context import Context, objective, phase
from harness.experiment.interrupts import Interrupts, interruptible
from harness.experiment.meter import Meter
from harness.experiment.model import Experiment, Mesh, Preflight, Quiet, Watch
from harness.experiment.necessary import necessary
from harness.experiment.observation import await_evidence, await_gate, observe
from harness.experiment.reconciliation import reconcile, watched
from harness.experiment.recovery import recover
from harness.experiment.settling import await_settled
from harness.experiment.tenure import Tenure
from harness.faults import Evidence, NoEvidence, Replaced, Restarted, Scene, Share, foreseen
from harness.injection import Healing, Injection, apply_changes, heal, inject, resolve
from harness.journal import Journal
from harness.ledger import Ledger
from harness.load import Traffic
from harness.rbac import missing, needs
from harness.slo import Probe
from harness.verdict import Judgement, Verdict, judge

_MARGIN = 60.0  # seconds after its time is up from which a fault counts as left behind
_PACKAGES = ("mesh-harness", "locust", "kubernetes")


def run(
    experiment: Experiment,
    mesh: Mesh,
    *,
    name: str,
    run_id: str,
    seed: int,
    journal: Journal,
    ledger: Ledger,
    watch: Watch | None = None,
    weaken: Sequence[Change] = (),
    expect: Verdict = Verdict.HELD,
    preflight: Preflight | None = None,
) -> Judgement:
    """Runs an experiment once, to be called in the main thread, and gives the judgement of its journal.

    `weaken` are policy changes that are in force during the whole run: the control that has to turn the verdict
    red. `preflight` looks at what the run cannot prove; what it finds goes to the journal, and a caveat that
    stops ends the run before anything is changed. `run_id` is part of the names of created objects, so at most
    40 of a-z, 0-9 and "-". Whatever keeps the run from going on (HarnessError) ends it INCONCLUSIVE with the
    reason; so does what an earlier run left and cannot be undone now. With everything undone it raises
    KeyboardInterrupt when SIGINT, SIGTERM or SIGHUP comes, and OSError when the journal cannot be written. A
    watch that fails is not asked again.
    """
    shielded = _Shielded(watch or Quiet())
    course = _Course(
        experiment, mesh, run_id, seed, journal, ledger, shielded, tuple(weaken), expect, preflight
    )
    journal.write(course.started(name))
    with interruptible() as interrupts:
        try:
            course.follow(interrupts)
        except HarnessError as error:
            journal.write(log.Stopped(time.time(), str(error)))
        except KeyboardInterrupt as interrupt:
            reason = str(interrupt) or "interrupted"
            journal.write(log.Stopped(time.time(), reason))
            # Not the same one again: a signal can come between two lines, and pytest cannot show such a traceback.
            raise KeyboardInterrupt(reason) from None
    course.watch.phase("judge")
    judgement = judge(journal.events)
    journal.write(log.Judged(time.time(), judgement.verdict.name, judgement.reasons))
    return judgement


@dataclass(frozen=True)
class _Course:
    """One run from its start to its end; every phase is one step."""

    experiment: Experiment
    mesh: Mesh
    run_id: str
    seed: int
    journal: Journal
    ledger: Ledger
    watch: Watch
    weaken: tuple[Change, ...]
    expect: Verdict
    preflight: Preflight | None

    def started(self, name: str) -> log.RunStarted:
        experiment, mesh = self.experiment, self.mesh
        return log.RunStarted(
            at=time.time(),
            run=self.run_id,
            name=name,
            target=str(experiment.target),
            fault=str(experiment.fault),
            weakened=_texts(self.weaken),
            objectives=tuple(objective(slo, experiment.confidence) for slo in experiment.hypothesis),
            guardrails=tuple(objective(slo, experiment.confidence) for slo in experiment.guardrails),
            confidence=experiment.confidence,
            recover_within=experiment.recover_within,
            load=str(experiment.load),
            seed=self.seed,
            versions=tuple(f"{package} {version(package)}" for package in _PACKAGES),
            api=mesh.cluster.host,
            entry=mesh.entry_url,
            prometheus=mesh.prometheus.url,
            expected=self.expect.name,
        )

    def follow(self, interrupts: Interrupts) -> None:
        """Goes through the phases up to recover. Raises HarnessError when one of them cannot be done."""
        namespace = self.experiment.target.namespace
        with interrupts.held(), Tenure(self.mesh.cluster, self.ledger, self.run_id, namespace) as tenure:
            meter, scene, evidence = self._resolve(tenure, interrupts)
            tenure.await_watchdog()  # it is not to compete with the beginning of the traffic
            since = meter.now()
            with interrupts.released(), self._traffic() as traffic:
                context = Context(
                    self.experiment,
                    self.mesh,
                    self.journal,
                    self.watch,
                    meter,
                    scene,
                    evidence,
                    traffic,
                    tenure,
                )
                self._act(context, interrupts)
            with interrupts.released():
                reconcile(context, since=since)

    def _act(self, context: Context, interrupts: Interrupts) -> None:
        """The phases from gate to recover."""
        with self._weakened(context, interrupts) as weakened:
            steady = not self.weaken and not isinstance(weakened.evidence, NoEvidence)
            with phase("gate", weakened):
                await_gate(weakened, steady=steady)
            ended, ready_at = self._fault(weakened, interrupts)
            with phase("recover", weakened):
                recover(weakened, since=ended, ready_at=ready_at)

    def _resolve(self, tenure: Tenure, interrupts: Interrupts) -> tuple[Meter, Scene, Evidence]:
        """Heals, takes the mesh, finds the pods and refuses what reaches too far, before anything is changed."""
        self.watch.phase("resolve")
        self.watch.progress(0.0, "; ".join(map(str, necessary(self.experiment))))
        self.journal.write(log.PhaseStarted(time.time(), "resolve"))
        with interrupts.released():
            healing = self._heal()
            fault, target = self.experiment.fault, self.experiment.target
            scene = resolve(self.mesh.cluster, target, run=self.run_id, seed=self.seed, fault=fault)
            self._look_ahead(scene)
            self.experiment.blast_radius.check(fault, scene)
            for change in self.weaken:
                need_open(change)
            evidence = fault.evidence(scene)
            self._check_rights(scene)
        tenure.take()
        with interrupts.released():
            self._check(healing)
            return self._resolved(scene, evidence), scene, evidence

    def _look_ahead(self, scene: Scene) -> None:
        """Writes down what this run cannot prove. Raises HarnessError when it may not begin for that."""
        if self.preflight is None:
            return
        held = self.expect is Verdict.HELD
        found = self.preflight(self.experiment, self.mesh, scene, expects_held=held)
        for caveat in found:
            self.journal.write(Cautioned.of(time.time(), caveat))
        if stops := [str(caveat) for caveat in found if caveat.stops]:
            raise HarnessError(f"Preflight refuses the run: {'; '.join(stops)}.")

    def _check_rights(self, scene: Scene) -> None:
        """Raises HarnessError when the credentials lack a right that this run needs; names all of them."""
        changes = (*self.weaken, *foreseen(self.experiment.fault, scene))
        probes = any(isinstance(slo.sli, Probe) for slo in self.experiment.indicators)
        fault, namespace = self.experiment.fault, self.experiment.target.namespace
        wanted = needs(changes, namespace, probes=probes, fault=fault)
        if lacking := missing(self.mesh.cluster, wanted):
            raise HarnessError(
                f"The credentials in use may not {', '.join(map(str, lacking))}; `harness rbac` prints a role that may."
            )

    def _resolved(self, scene: Scene, evidence: Evidence) -> Meter:
        """Writes down what was found; gives what counts from now on."""
        meter = Meter(self.mesh, self.experiment.target.namespace)
        self._found(meter, scene, evidence)
        self.journal.write(log.PhaseEnded(meter.now(), "resolve"))
        return meter

    def _found(self, meter: Meter, scene: Scene, evidence: Evidence) -> None:
        kind = type(evidence).__name__.lower() if not isinstance(evidence, NoEvidence) else "none"
        percent, partial = (
            (evidence.percent, evidence.partial) if isinstance(evidence, Share) else (0.0, False)
        )
        names = tuple(pod.name for pod in scene.pods)
        self.journal.write(log.Resolved(meter.now(), names, kind, percent, partial))

    def _heal(self) -> Healing:
        """Undoes what earlier runs left."""
        healing = heal(self.mesh.cluster, self.ledger)
        if healing.done or healing.kept or healing.failed:
            self.journal.write(
                log.Reverted(time.time(), "leftovers", healing.done, healing.kept, healing.failed)
            )
        return healing

    @staticmethod
    def _check(healing: Healing) -> None:
        """Raises HarnessError when some of what earlier runs left stays in force."""
        if healing.failed:
            raise HarnessError("What an earlier run left has to be undone first; run `harness heal`.")
        if healing.claimed:
            raise HarnessError(f"A fault of another run is in force: {' '.join(healing.claimed)}")

    @contextmanager
    def _traffic(self) -> Iterator[Traffic]:
        load = self.experiment.load
        messages = self.journal.path.with_suffix(".load.log")
        with Traffic(load, self.mesh.entry_url, seed=self.seed, log=messages) as traffic:
            try:
                yield traffic
            finally:
                sent = traffic.stop()
                self.journal.write(
                    log.LoadReported(
                        time.time(),
                        sent.requests,
                        sent.failures,
                        sent.p50,
                        sent.p99,
                        load.population,
                        sent.rate,
                        load.rate,
                        load.alone,
                        sent.mean,
                    )
                )

    @contextmanager
    def _weakened(self, context: Context, interrupts: Interrupts) -> Iterator[Context]:
        """The run with the policy changes of a control run, in force inside."""
        if not self.weaken:
            yield context
            return
        context.tenure.await_watchdog()
        with interrupts.held():
            injection = apply_changes(
                self.mesh.cluster,
                self.weaken,
                run=f"{self.run_id}-policy",
                ledger=self.ledger,
                expires_in=self._longest(),
            )
            try:
                with interrupts.released():
                    self.journal.write(log.Weakened(context.now(), _texts(self.weaken)))
                    yield self._replaced(context)
            finally:
                self._record(context, "policy", injection.end())

    def _replaced(self, context: Context) -> Context:
        """The run with the pods that are there now: a workload that was weakened replaces its own."""
        workloads = [change.ref for change in self.weaken if change.ref.kind == "Deployment"]
        if not workloads:
            return context
        within = self.experiment.recover_within + self.mesh.patience
        for ref in workloads:
            await_settled(self.mesh.cluster, ref, within=within, wait=context.wait)
        fault, target = self.experiment.fault, self.experiment.target
        scene = resolve(self.mesh.cluster, target, run=self.run_id, seed=self.seed, fault=fault)
        evidence = fault.evidence(scene)
        self._found(context.meter, scene, evidence)
        return replace(context, scene=scene, evidence=evidence)

    def _fault(self, context: Context, interrupts: Interrupts) -> tuple[float, float | None]:
        """Inject, observe and revert.

        Gives the end of the fault, and when the pods that it took were seen replaced (Unix seconds).
        """
        injection: Injection | None = None
        replaced: float | None = None
        context.tenure.await_watchdog()
        injected = context.now()
        with interrupts.held():
            try:
                with phase("inject", context):
                    injection = self._inject(context)
                    with interrupts.released():
                        made, refused = _texts(injection.changes), _refusals(injection)
                        self.journal.write(log.Injected(context.now(), made, refused))
                        context = self._going_on(_as_allowed(context, injection), injection, interrupts)
                        shown = await_evidence(context, injected)
                if shown:
                    with interrupts.released(), phase("observe", context), watched(context, "observe"):
                        replaced = observe(context, injected)
            finally:
                if injection is not None:
                    self._revert(context, injection)
        at_once = isinstance(context.evidence, Replaced | Restarted)
        return (injected if at_once else context.now()), replaced

    def _going_on(self, context: Context, injection: Injection, interrupts: Interrupts) -> Context:
        """The run of a fault that does more while it is in force."""
        fault = self.experiment.fault
        if fault.rhythm is None:
            return context
        beats = Beats(fault, fault.rhythm, context, injection, interrupts)
        return replace(context, beat=beats.look)

    def _revert(self, context: Context, injection: Injection) -> None:
        """Undoes the fault; whether that can be shown and written down matters only when it is done."""
        began = context.now()
        healing = injection.end()
        self.watch.phase("revert")
        self.journal.write(log.PhaseStarted(began, "revert"))
        self._record(context, "fault", healing)
        self.journal.write(log.PhaseEnded(context.now(), "revert"))

    def _inject(self, context: Context) -> Injection:
        return inject(
            self.mesh.cluster,
            self.experiment.fault,
            context.scene,
            ledger=self.ledger,
            blast_radius=self.experiment.blast_radius,
            expires_in=self._longest(),
        )

    def _longest(self) -> float:
        """Seconds after which nothing of this run can still be in force, unless it was killed."""
        limit = self.experiment.blast_radius.seconds + self.experiment.recover_within
        return limit + self.experiment.fault.lasts + self.mesh.patience + _MARGIN

    def _record(self, context: Context, what: str, healing: Healing) -> None:
        self.journal.write(log.Reverted(context.now(), what, healing.done, healing.kept, healing.failed))


class _Shielded:
    """A watch whose failures do not reach the run: nobody has to be looking for it to go on and to be undone."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def phase(self, name: str) -> None:
        try:
            self._watch.phase(name)
        except Exception:  # whatever it is: a terminal that is gone, or a mistake in somebody's watch
            self._watch = Quiet()

    def progress(self, done: float, text: str) -> None:
        try:
            self._watch.progress(done, text)
        except Exception:  # as above
            self._watch = Quiet()


def _texts(changes: Sequence[Change]) -> tuple[str, ...]:
    return tuple(f"{type(change).__name__.lower()} {change.ref}" for change in changes)


def _refusals(injection: Injection) -> tuple[str, ...]:
    return tuple(f"{ref}: {why}" for ref, why in injection.refused.items())


def _as_allowed(context: Context, injection: Injection) -> Context:
    """What is left to be seen when the cluster did not let everything happen."""
    if not injection.refused:
        return context
    if not injection.changes:
        return replace(context, evidence=NoEvidence())
    if isinstance(context.evidence, Replaced):
        stayed = {pod.uid for pod in context.scene.pods if pod.ref in injection.refused}
        return replace(context, evidence=context.evidence.without(stayed))
    return context
