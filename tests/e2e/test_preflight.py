"""`harness check` on a local mesh: each caveat shows where it is due, and nothing is said of what is sound."""

from __future__ import annotations

import re

import pytest
import yaml
from live import service
from support import ROOT

from harness.localmesh.launch import launch

pytestmark = pytest.mark.e2e

SETTLED = "retries: {attempts: 3, perTryTimeout: 200ms, retryOn: '5xx,reset'}"
MESH = f"""
apiVersion: v1
kind: Namespace
metadata: {{name: trial, labels: {{istio-injection: enabled}}}}
---
apiVersion: v1
kind: Namespace
metadata: {{name: outside}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: entry, namespace: trial}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: 8080, name: http, protocol: HTTP}}, hosts: ["*"]}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: entry, namespace: trial}}
spec:
  hosts: ["*"]
  gateways: [entry]
  http: [{{route: [{{destination: {{host: front}}}}]}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: good, namespace: trial}}
spec: {{hosts: [good], http: [{{route: [{{destination: {{host: good}}}}], timeout: 1s, {SETTLED}}}]}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: good, namespace: trial}}
spec:
  host: good
  trafficPolicy: {{outlierDetection: {{consecutive5xxErrors: 5, maxEjectionPercent: 50}}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: bad, namespace: trial}}
spec:
  hosts: [bad]
  http:
    - route: [{{destination: {{host: bad}}}}]
      timeout: 1s
      retries: {{attempts: 3, perTryTimeout: 500ms, retryOn: connect-failure}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: bad, namespace: trial}}
spec: {{host: bad, trafficPolicy: {{outlierDetection: {{consecutiveGatewayErrors: 3}}}}}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {{name: bad, namespace: trial}}
spec: {{minAvailable: 2, selector: {{matchLabels: {{app: bad}}}}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: lost, namespace: trial}}
spec: {{hosts: [lost], gateways: [gone], http: [{{route: [{{destination: {{host: lost}}}}], {SETTLED}}}]}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: lost, namespace: trial}}
spec:
  host: lost
  trafficPolicy: {{loadBalancer: {{localityLbSetting: {{failoverPriority: [topology.kubernetes.io/region]}}}}}}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: lost, namespace: trial}}
spec:
  workloadSelector: {{labels: {{app: lost}}}}
  egress: [{{hosts: ["istio-system/*"]}}]
"""

EXPERIMENTS = """
import pytest
from harness import SLO, Abort, BlastRadius, Delay, Evict, Experiment, Load, Target, availability, mtls_share

UP = SLO("up", availability("front", "trial"), at_least=0.99)

def about(fault, target="good", slo=UP, rate=200, observe=30.0):
    load, radius = Load("browse", rate=rate), BlastRadius(max_pods=9, seconds=60)
    return Experiment([slo], Target(target, "trial"), fault, load, radius, observe=observe)

CASES = {
    "sound": about(Abort(503, 30)),
    "weak": about(Abort(503, 30), "bad"),
    "before": about(Abort(503, 30, at="caller"), "bad"),
    "evicted": about(Evict(1), "bad"),
    "lost": about(Abort(503, 30), "lost"),
    "bare": about(Abort(503, 30), slo=SLO("up", availability("bare", "outside"), at_least=0.99)),
    "hidden": about(Abort(503, 30), slo=SLO("up", availability("lost", "trial"), at_least=0.99)),
    "blind": about(Delay(0.1, at="caller"), slo=SLO("mutual", mtls_share("good", "trial"), at_least=0.9)),
    "short": about(Abort(503, 30), rate=10_000, observe=0.2),
    "few": about(Abort(503, 30), rate=1),
}

@pytest.mark.parametrize("case", CASES)
def test_case(run, case):
    run(CASES[case])
"""

EXPECTED = {
    "weak": {"warn uncovered-code", "warn tries-beyond-timeout", "warn no-ejection", "warn default-5xx"},
    "before": {"refuse fault-before-policy", "warn fault-before-policy"},
    "evicted": {"refuse budget"},
    "lost": {"refuse unbound", "warn no-failover"},
    "bare": {"refuse no-sidecar"},
    "hidden": {"warn hidden-target"},
    "blind": {"refuse blind-reporter"},
    "short": {"refuse short-window"},
    "few": {"refuse undecidable"},
}


@pytest.fixture(scope="module")
def trial(short):
    """A mesh with sound and unsound policies; gives the options that name it."""
    folder = short / "trial"
    folder.mkdir()
    items = list(yaml.safe_load_all(MESH))
    for app, replicas in {"front": 1, "good": 2, "bad": 2, "lost": 1, "bare": 1}.items():
        for item in yaml.safe_load_all(service(app)):
            item["metadata"]["namespace"] = "outside" if app == "bare" else "trial"
            if item["kind"] == "Deployment":
                item["spec"]["replicas"] = replicas
            items.append(item)
    manifest = folder / "trial.yaml"
    manifest.write_text(yaml.safe_dump_all(items))
    with launch([manifest], print, short / "trial-mesh") as mesh:
        yield [
            f"--kubeconfig={mesh.kubeconfig}",
            f"--entry-url={mesh.entry_url}",
            f"--prometheus-url={mesh.prometheus_url}",
        ]


@pytest.fixture
def checked(trial, harness, tmp_path):
    """Runs the check, of cases whose names are given or of all; gives what ended and the caveats of each case."""
    path = tmp_path / "test_trial.py"
    path.write_text(EXPERIMENTS)

    def perform(*cases):
        chosen = [f"{path}::test_case[{case}]" for case in cases] or [str(path)]
        done = harness("check", *chosen, *trial, "-p", "no:cacheprovider", f"--rootdir={ROOT}")
        return done, _caveats(done.stdout)

    return perform


def _caveats(text: str) -> dict[str, set[str]]:
    """The severities and codes in the table, by case; cells that were folded are put together."""
    rows: list[list[str]] = []
    for line in text.splitlines():
        if not line.startswith("│"):
            continue
        cells = [cell.strip() for cell in line.strip("│").split("│")]
        if cells[1]:
            rows.append(cells)
        else:
            rows[-1] = [before + cell for before, cell in zip(rows[-1], cells, strict=True)]
    found: dict[str, set[str]] = {}
    for names, severity, _, reason, _ in rows:
        for case in re.findall(r"test_case\[(\w+)\]", names):
            found.setdefault(case, set()).add(f"{severity} {reason.rpartition('(')[2].rstrip(')')}")
    return found


def test_every_caveat_is_found_where_it_is_due_and_the_check_ends_with_2(checked):
    """By one check of all experiments; of the sound one nothing is said."""
    done, found = checked()
    assert done.returncode == 2, done.stdout + done.stderr
    assert "sound" not in found
    for case, expected in EXPECTED.items():
        assert expected <= found.get(case, set()), (case, done.stdout)


def test_a_check_of_what_is_sound_ends_with_0(checked):
    """It says that nothing was found; a warning is no refusal either."""
    done, found = checked("sound")
    assert (done.returncode, found) == (0, {}), done.stdout + done.stderr
    assert "Preflight has found nothing." in done.stdout
    done, found = checked("weak")
    assert (done.returncode, set(found)) == (0, {"weak"})
