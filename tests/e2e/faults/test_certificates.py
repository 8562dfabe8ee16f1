"""Faults of certificates through real Envoys, whose certificates live for seconds: they bite, and are gone."""

from __future__ import annotations

import base64
import contextlib
import threading
import time
from collections import Counter

import httpx
import pytest
from live import steadily
from support import ROOT, eventually

from harness import (
    BlastRadius,
    CertificateExpiry,
    HarnessError,
    Nothing,
    PacketLoss,
    RootRotation,
    Target,
    Verdict,
)
from harness.changes import Ref
from harness.healing import heal
from harness.injection import inject, resolve
from harness.ledger import Ledger
from harness.leftovers import leftovers
from harness.localmesh.launch import launch
from harness.sidecars import seconds_left, trusted_root

pytestmark = pytest.mark.e2e
TARGET = Target("recommendations", namespace="shop")
WIDE = BlastRadius(max_pods=10, namespaces=("shop", "istio-system"))
ROOT_SECRET = Ref("v1", "Secret", "istio-system", "istio-ca-secret")
ISTIOD = Ref("apps/v1", "Deployment", "istio-system", "istiod")
LIFETIME = 6
# Open connections outlive a certificate, so every request needs one of its own.
SETTINGS = f"""
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data: {{mesh: "defaultConfig: {{proxyMetadata: {{SECRET_TTL: {LIFETIME}s}}}}"}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: one-request, namespace: shop}}
spec:
  host: recommendations
  trafficPolicy: {{connectionPool: {{http: {{maxRequestsPerConnection: 1}}}}}}
"""


@pytest.fixture(scope="module")
def victim(short):
    """A mesh of these tests' own, whose certificates live for seconds."""
    manifests = short / "victim.yaml"
    manifests.write_text((ROOT / "experiments" / "shop.yaml").read_text() + SETTINGS)
    with launch([manifests], print, short / "certified") as addresses:
        yield addresses


@pytest.fixture
def ask(cluster):
    """The codes of so many requests to recommendations through the sidecar of frontend, each on a new connection."""
    frontend = cluster.pods("shop", {"app": "frontend"})[0]
    with httpx.Client(proxy=f"http://{frontend.ip}:15001", trust_env=False, timeout=10) as caller:

        def ask(times=1):
            return Counter(caller.get("http://recommendations:8080/today").status_code for _ in range(times))

        yield ask


def resolved(cluster, fault):
    """Its scene."""
    return resolve(cluster, TARGET, run="bites", seed=1, fault=fault)


def state(cluster):
    """What the faults touch, as people wrote it."""
    secrets = {
        item["metadata"]["name"]: item["data"] for item in cluster.list("v1", "Secret", "istio-system")
    }
    return cluster.get(ISTIOD)["spec"], secrets


def left(cluster):
    """For how long the certificates of the target are good."""
    return seconds_left(cluster, cluster.pods("shop", TARGET.labels)).values()


def settled(cluster):
    """Istiod is there again."""
    pods = cluster.pods("istio-system", {"app": "istiod"})
    return len(pods) == 1 and pods[0].ready and not pods[0].terminating


def test_certificates_run_out_while_nobody_renews_them(cluster, ledger, ask):
    """New connections fail with 503, before and afterwards they do not."""
    fault = CertificateExpiry(within=30)
    before = state(cluster)
    assert ask(20) == {200: 20}
    scene = resolved(cluster, fault)
    with inject(cluster, fault, scene, ledger=ledger, blast_radius=WIDE):
        eventually(lambda: max(left(cluster)) < 0, within=20.0)
        steadily(lambda: ask(5) == {503: 5})
    assert state(cluster) == before
    eventually(lambda: settled(cluster) and min(left(cluster)) > 0, within=20.0)
    steadily(lambda: ask(5) == {200: 5})


def test_certificates_that_live_longer_than_the_fault_waits_are_refused(cluster):
    """Before anything is changed, with the reason."""
    fault = CertificateExpiry(within=0.5)
    with pytest.raises(HarnessError, match=r"are good for \d+ s, and it waits 0 s for their end"):
        fault.changes(resolved(cluster, fault))


def test_faults_of_packets_are_refused_where_there_is_no_chaos_mesh(cluster):
    """As in the local mesh, whose pods share one network: by discovery, with the reason."""
    with pytest.raises(
        HarnessError, match=r"knows no NetworkChaos.*install Chaos Mesh, or use Delay or Abort"
    ):
        PacketLoss(5).changes(resolved(cluster, PacketLoss(5)))


def test_another_root_is_in_use_until_the_revert_and_the_old_one_after_it(cluster, ledger, ask, tmp_path):
    """By what istiod tells and by what the sidecars follow; no key is written to the ledger."""
    fault = RootRotation(within=30)
    before, old = state(cluster), trusted_root(cluster, "shop")
    key = base64.b64decode(before[1]["istio-ca-secret"]["ca-key.pem"])
    scene = resolved(cluster, fault)
    written = []
    with inject(cluster, fault, scene, ledger=ledger, blast_radius=WIDE) as injection:
        written += [path.read_bytes() for path in ledger.directory.glob("*.jsonl")]
        assert [type(change).__name__ for change in injection.changes] == ["Patch", "Rotate", "Patch"]
        eventually(lambda: trusted_root(cluster, "shop") != old, within=20.0)
        eventually(lambda: settled(cluster), within=20.0)
        new = base64.b64decode(cluster.get(ROOT_SECRET)["data"]["ca-key.pem"])
        steadily(lambda: ask(10) == {200: 10})  # everybody has followed
    assert state(cluster) == before
    eventually(lambda: trusted_root(cluster, "shop") == old and settled(cluster), within=20.0)
    steadily(lambda: ask(10) == {200: 10})
    assert written
    for text in written:
        assert b"PRIVATE" not in text
        for secret in (key, new):
            assert all(line not in text for line in secret.splitlines()[1:-1])
            assert base64.b64encode(secret)[40:80] not in text


def _part(cluster):
    """Lets the two ends renew at different times: the target is started while the other's certificate is in use."""
    callers = cluster.pods("shop", {"app": "frontend"})
    eventually(lambda: LIFETIME * 0.6 < min(seconds_left(cluster, callers).values()) < LIFETIME * 0.8)
    (old,) = cluster.pods("shop", TARGET.labels)
    cluster.delete(old.ref, 0)
    eventually(
        lambda: [pod.ready for pod in cluster.pods("shop", TARGET.labels) if pod.uid != old.uid] == [True]
    )


def test_between_those_that_have_followed_and_those_that_have_not_connections_fail(cluster, ledger, ask):
    """That is the harm of a rotation without a time in which both are trusted."""
    fault, codes = RootRotation(within=30), Counter()
    _part(cluster)
    steadily(lambda: ask(5) == {200: 5})
    with inject(cluster, fault, resolved(cluster, fault), ledger=ledger, blast_radius=WIDE):

        def harmed():
            codes.update(ask(5))
            return codes[503]

        eventually(harmed, within=20.0)
    eventually(lambda: settled(cluster), within=20.0)
    eventually(lambda: ask(20) == {200: 20}, within=20.0)


def test_with_an_overlap_nobody_is_refused_on_either_way(cluster, ledger, ask):
    """The new root signs in between, while every request takes a connection of its own."""
    fault = RootRotation(within=30, overlap=5)
    before, old = state(cluster), trusted_root(cluster, "shop")
    _part(cluster)
    steadily(lambda: ask(5) == {200: 5})
    scene, codes, over = resolved(cluster, fault), Counter(), threading.Event()

    def keep_asking():
        while not over.is_set():
            codes.update(ask(5))

    asking = threading.Thread(target=keep_asking)
    asking.start()
    try:
        with inject(cluster, fault, scene, ledger=ledger, blast_radius=WIDE) as injection:
            time.sleep(fault.overlap)  # the time of the fault itself, which only an experiment keeps
            assert trusted_root(cluster, "shop") == old
            injection.go_on(fault.further(scene, scene.pods, 1))
            eventually(lambda: trusted_root(cluster, "shop") != old, within=20.0)
            signing = time.time()
            everybody = cluster.pods("shop", {})
            eventually(lambda: _renewed_since(cluster, everybody, signing), within=20.0)
        eventually(lambda: settled(cluster), within=20.0)
        back = time.time()
        eventually(lambda: _renewed_since(cluster, everybody, back), within=20.0)
    finally:
        over.set()
        asking.join()
    assert state(cluster) == before
    assert trusted_root(cluster, "shop") == old
    assert codes[200] > 500, codes
    assert codes.keys() == {200}


def _renewed_since(cluster, pods, moment):
    """Whether every one of these sidecars has got its certificate since then, whichever life it was given."""
    ends = {name: time.time() + left for name, left in seconds_left(cluster, pods).items()}
    lives = {pod.name: 10 if pod.labels["app"] == TARGET.app else LIFETIME for pod in pods}
    return len(ends) == len(pods) and all(end - lives[name] > moment + 0.5 for name, end in ends.items())


@pytest.mark.parametrize("overlap", [0, 1])
def test_a_rotation_is_healed_by_a_machine_that_has_only_the_kubeconfig(cluster, ledger, tmp_path, overlap):
    """From the copies in the cluster, once the claim is over; the copies go."""
    fault = RootRotation(within=30, overlap=overlap)
    before, scene = state(cluster), resolved(cluster, fault)
    injection = inject(cluster, fault, scene, ledger=ledger, blast_radius=WIDE, expires_in=0.1)
    if overlap:
        injection.go_on(fault.further(scene, scene.pods, 1))
    assert state(cluster) != before
    eventually(lambda: not leftovers(cluster).claimed)
    healing = heal(cluster, Ledger(tmp_path / "elsewhere"))
    assert healing.failed == healing.kept == ()
    assert any("holds its old root again" in sentence for sentence in healing.done)
    assert state(cluster) == before
    assert injection.end().failed == ()
    assert state(cluster) == before
    eventually(lambda: settled(cluster), within=20.0)


@pytest.fixture
def perform(cluster, victim, judged, ledger, tmp_path):
    """Runs an experiment on recommendations with a fault: the judgement, and what was written about it."""

    def perform(fault):
        eventually(lambda: settled(cluster), within=20.0)
        # the gateway and the other callers follow when they renew, each at its own time
        steadily(lambda: httpx.get(victim.entry_url, trust_env=False).status_code == 200, times=30)
        before = state(cluster)
        found = judged(TARGET, fault, WIDE, recover_within=20)
        assert state(cluster) == before
        return found, (tmp_path / "run.jsonl").read_text()

    yield perform
    with contextlib.suppress(HarnessError):
        heal(cluster, ledger)


@pytest.mark.parametrize(
    ("fault", "evidence"),
    [
        (CertificateExpiry(within=15), "1 of 1 pods have an expired certificate"),
        (RootRotation(within=15), "1 of 1 pods have a certificate of another root"),
        (Nothing(), "no fault, so none"),
    ],
    ids=str,
)
def test_an_experiment_shows_what_the_sidecars_hold(perform, fault, evidence):
    """Whatever becomes of the promise; and no key is in the journal."""
    judgement, journal = perform(fault)
    assert judgement.evidence == evidence, judgement
    assert judgement.verdict is not Verdict.INCONCLUSIVE or isinstance(fault, Nothing), judgement
    assert "PRIVATE" not in journal
