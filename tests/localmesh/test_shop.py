"""The project's own shop, experiments/shop.yaml: that it is what its comments say."""

from pathlib import Path

import pytest
import yaml

from harness.localmesh import genesis
from harness.localmesh.images import command
from harness.localmesh.kinds.istio import admit
from harness.localmesh.kinds.istio.meshconfig import mesh_config
from harness.localmesh.standins.collecting import flags
from harness.localmesh.standins.service import Behaviour

_SHOP = [
    m for m in yaml.safe_load_all((Path(__file__).parents[2] / "experiments" / "shop.yaml").read_text()) if m
]
_PREFIX = "standin.harness.local/"


def _of(kind):
    return {manifest["metadata"]["name"]: manifest for manifest in _SHOP if manifest["kind"] == kind}


@pytest.mark.parametrize(
    "manifest",
    [item for item in _of("Deployment").values() if item["metadata"]["namespace"] == "shop"],
    ids=lambda manifest: manifest["metadata"]["name"],
)
def test_each_pod_has_a_program_that_accepts_its_annotations(manifest):
    """Its image has a stand-in, and that one takes its settings."""
    template = manifest["spec"]["template"]
    container = template["spec"]["containers"][0]
    assert command(container["image"], container) is not None
    settings = {
        name.removeprefix(_PREFIX): value
        for name, value in template["metadata"]["annotations"].items()
        if name.startswith(_PREFIX)
    }
    variables = {f"STANDIN_{name.upper().replace('-', '_')}": value for name, value in settings.items()}
    behaviour = Behaviour.of(variables, tuple(port["containerPort"] for port in container["ports"]))
    hosts = {call.url.split("/")[2].split(":")[0] for call in behaviour.calls}
    registered = {host for entry in _of("ServiceEntry").values() for host in entry["spec"]["hosts"]}
    assert hosts <= _of("Service").keys() | registered | {"abroad.example"}
    assert template["spec"]["serviceAccountName"] in _of("ServiceAccount")
    assert behaviour.calls or 0.002 <= behaviour.latency.low <= behaviour.latency.high <= 0.005


def test_spans_of_the_shop_go_to_its_collector():
    """The provider that its Telemetry names is one of the mesh's, whose Service has the port where spans are taken."""
    (tracing,) = _of("Telemetry")["traced"]["spec"]["tracing"]
    (settings,) = (mesh_config(item) for item in genesis.objects() if item["kind"] == "ConfigMap")
    (provider,) = settings.extension_providers
    assert tracing["providers"] == [{"name": provider.name}]
    service = _of("Service")["opentelemetry-collector"]
    metadata, deployment = service["metadata"], _of("Deployment")["opentelemetry-collector"]
    host = f"{metadata['name']}.{metadata['namespace']}.svc.cluster.local"
    assert (provider.opentelemetry.service, provider.opentelemetry.port) == (
        host,
        service["spec"]["ports"][0]["port"],
    )
    template = deployment["spec"]["template"]
    plan = flags(template["spec"]["containers"][0]["args"])
    assert plan.otlp == provider.opentelemetry.port
    assert template["metadata"]["annotations"]["prometheus.io/port"] == str(plan.prometheus)


def test_catalog_and_payments_have_three_pods_in_two_versions():
    """Two of v1 and one of v2."""
    replicas = {name: manifest["spec"]["replicas"] for name, manifest in _of("Deployment").items()}
    for app in ("catalog", "payments"):
        assert (replicas[f"{app}-v1"], replicas[f"{app}-v2"]) == (2, 1)


@pytest.mark.parametrize("app", ["catalog", "payments"])
def test_retries_leave_less_than_a_tenth_of_the_error_budget(app):
    """With 30 % of the tries failing, the calls that fail are well under the 0.5 % the experiment allows."""
    retries = _of("VirtualService")[app]["spec"]["http"][-1]["retries"]
    assert 0.30 ** (retries["attempts"] + 1) < 0.005 / 10
    assert "5xx" in retries["retryOn"].split(",")


@pytest.mark.parametrize("app", ["catalog", "payments"])
def test_outlier_detection_spares_a_pod_that_fails_at_random_and_can_eject_what_may_fail(app):
    """30 % random failures eject a pod less than once an hour; one pod of catalog may be out, a zone of payments."""
    outlier = _of("DestinationRule")[app]["spec"]["trafficPolicy"]["outlierDetection"]
    in_a_row = outlier["consecutive5xxErrors"]
    tries_between_ejections = (1 - 0.30**in_a_row) / (0.70 * 0.30**in_a_row)
    assert tries_between_ejections / 100 > 3600  # at 100 tries a second and pod
    out = {"catalog": 1, "payments": 2}[app]
    assert 100 * out / 3 <= outlier["maxEjectionPercent"] < 100 * (out + 1) / 3


def test_the_gateway_does_not_repeat_what_frontend_answered():
    """Else the experiment without retries at the caller would be hidden by those at the entry."""
    retries = _of("VirtualService")["shop"]["spec"]["http"][0]["retries"]
    assert not set(retries["retryOn"].split(",")) & {"5xx", "gateway-error", "retriable-status-codes", "503"}


@pytest.mark.parametrize(
    "manifest",
    [m for m in _SHOP if "istio.io" in m["apiVersion"]],
    ids=lambda m: f"{m['kind']}/{m['metadata']['name']}",
)
def test_the_local_mesh_takes_every_policy(manifest):
    """Admission refuses nothing in it."""
    admit(manifest)
