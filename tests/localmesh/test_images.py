"""Which program stands in for which image."""

import subprocess
import sys

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support import SAMPLES

from harness.localmesh.errors import Refused
from harness.localmesh.images import check_annotations, command

_REGISTRIES = [
    "",
    "docker.io/istio/",
    "registry.istio.io/release/",
    "gcr.io/istio-release/",
    "localhost:5000/istio/",
]


@given(
    registry=st.sampled_from(_REGISTRIES),
    tag=st.sampled_from(["", ":1.20.3", ":latest", "@sha256:0a1b", ":1.0@sha256:0a1b"]),
    version=st.sampled_from(["v1", "v2", "v3"]),
)
def test_registry_tag_and_digest_do_not_matter(registry, tag, version):
    """Wherever Istio's image comes from, the same program stands in for it."""
    vector = command(f"{registry}examples-bookinfo-reviews-{version}{tag}", {})
    assert vector == (sys.executable, "-P", "-m", "harness.localmesh.standins.bookinfo", "reviews", version)


@pytest.mark.parametrize(
    ("image", "tail"),
    [
        ("harness/service:1", ["service"]),
        ("docker.io/istio/examples-helloworld-v2:1.0", ["helloworld", "v2"]),
        ("docker.io/curlimages/curl:8.16.0", ["idle"]),
        ("docker.io/mccutchen/go-httpbin:v2.15.0", ["httpbin", "go"]),
        ("kong/httpbin", ["httpbin", "python", "80"]),
        ("docker.io/fortio/fortio:latest_release", ["fortio"]),
        ("registry.istio.io/release/health:example", ["health"]),
        ("registry.istio.io/testing/app:latest", ["echo"]),
        ("docker.io/istio/examples-bookinfo-mongodb:1.20.3", ["database", "27017"]),
        ("docker.io/istio/examples-bookinfo-ratings-v-faulty", ["bookinfo", "ratings", "v-faulty"]),
    ],
)
def test_each_image_has_its_program(image, tail):
    """The table's other rows."""
    vector = command(image, {})
    assert vector[3:] == (f"harness.localmesh.standins.{tail[0]}", *tail[1:])


def test_the_collector_is_given_its_configuration_and_no_file():
    """It is read before anything starts."""
    with pytest.raises(Refused, match="the configuration itself") as refused:
        command("otel/opentelemetry-collector-contrib:0.123.0", {"args": ["--config=/conf/config.yaml"]})
    assert refused.value.field == "spec.template.spec.containers[0].args"


@pytest.mark.parametrize(
    "image", ["auto", "docker.io/istio/proxyv2:1.30.3", "registry.istio.io/release/proxyv2"]
)
def test_a_gateway_has_no_program(image):
    """It is an Envoy alone, whatever arguments its container gives pilot-agent."""
    assert command(image, {"args": ["proxy", "router"]}) is None


@pytest.mark.parametrize(
    "image",
    [
        "docker.io/library/redis:alpine",
        "nginx",
        "example.com/other/curl:1",
        "other/service",
        "istio/auto",
    ],
)
def test_an_image_without_a_stand_in_is_refused_with_those_there_are(image):
    """422, the field, the image and the choice."""
    with pytest.raises(Refused) as refused:
        command(image, {})
    assert (refused.value.code, refused.value.field) == (422, "spec.template.spec.containers[0].image")
    assert image in refused.value.message
    assert "harness/service" in refused.value.message


def test_the_program_of_curls_image_may_sleep():
    """As Istio's sample has it."""
    assert command("curlimages/curl", {"command": ["/bin/sleep", "infinity"]}) == command(
        "curlimages/curl", {}
    )


@pytest.mark.parametrize(
    ("image", "asked", "tail"),
    [
        (
            "istio/tcp-echo-server:1.3",
            {"args": ["9000,9001,9002", "hello"]},
            ("tcpecho", "9000,9001,9002", "hello"),
        ),
        ("istio/app", {"args": ["--port", "80", "--grpc=7070"]}, ("echo", "--port", "80", "--grpc=7070")),
        ("istio/examples-bookinfo-mongodb", {"args": ["--ipv6", "--bind_ip_all"]}, ("database", "27017")),
        ("fortio/fortio", {"args": ["server"]}, ("fortio",)),
        ("busybox:1.28", {"command": ["sleep"], "args": ["3600"]}, ("idle",)),
        (
            "docker.io/kennethreitz/httpbin",
            {"command": ["gunicorn", "--access-logfile", "-", "-b", "0.0.0.0:8080", "httpbin:app"]},
            ("httpbin", "python", "8080"),
        ),
    ],
)
def test_arguments_that_a_stand_in_understands_reach_it(image, asked, tail):
    """As Istio's samples and tasks give them."""
    module, *arguments = tail
    assert command(image, asked)[3:] == (f"harness.localmesh.standins.{module}", *arguments)


@pytest.mark.parametrize(
    ("image", "container", "field"),
    [
        ("istio/tcp-echo-server", {"args": ["9000"]}, "args"),
        ("istio/tcp-echo-server", {}, "args"),
        ("istio/app", {"args": ["--port", "80", "--tls", "443"]}, "args"),
        ("istio/app", {"args": ["--port", "http"]}, "args"),
        ("alpine", {}, "args"),
        ("busybox", {"command": ["sh", "-c", "sleep 1"]}, "command"),
        ("kennethreitz/httpbin", {"command": ["gunicorn", "-b", "0.0.0.0:80", "other:app"]}, "command"),
        ("fortio/fortio", {"args": ["load", "http://web"]}, "args"),
        ("curlimages/curl", {"command": ["curl", "http://web"]}, "command"),
        ("harness/service", {"command": ["/bin/sleep", "infinity"]}, "command"),
        ("harness/service", {"args": ["--fast"]}, "args"),
    ],
)
def test_a_container_that_asks_for_another_program_is_refused(image, container, field):
    """What the stand-in would ignore is refused, with its field."""
    with pytest.raises(Refused) as refused:
        command(image, container)
    assert refused.value.field == f"spec.template.spec.containers[0].{field}"


def test_a_command_can_be_run():
    """The argument vector starts the stand-in, from any directory."""
    vector = command("harness/service", {})
    ended = subprocess.run(vector, env={"STANDIN_EXIT": "7"}, cwd="/", check=False, capture_output=True)
    assert ended.returncode == 7


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="Istio's sample manifests are not beside the project")
def test_every_image_of_istios_samples_has_a_stand_in():
    """The manifests as Istio ships them."""
    found = 0
    for file in sorted(SAMPLES.glob("*.yaml")):
        for manifest in yaml.safe_load_all(file.read_text()):
            if manifest and manifest["kind"] == "Deployment":
                container = manifest["spec"]["template"]["spec"]["containers"][0]
                assert command(container["image"], container)
                found += 1
    assert found > 8


@pytest.mark.parametrize(
    ("image", "name", "value"),
    [
        ("harness/service", "latnecy", "5ms"),
        ("harness/service", "protocol", "9000=tcp"),
        ("istio/examples-helloworld-v1", "latency", "5ms"),
        ("curlimages/curl", "latency", "5ms"),
    ],
)
def test_a_setting_that_the_stand_in_would_not_start_with_is_refused(image, name, value):
    """Before there is a pod, with the annotation's name."""
    container = {"ports": [{"containerPort": 8080}]}
    annotation = f"standin.harness.local/{name}"
    with pytest.raises(Refused) as refused:
        check_annotations(image, container, {annotation: value})
    assert refused.value.field == "spec.template.metadata.annotations"
    assert annotation in refused.value.message


def test_settings_that_are_right_and_annotations_of_others_are_accepted():
    """A gateway reads none, so it is not asked."""
    container = {"ports": [{"containerPort": 8080}]}
    good = {"standin.harness.local/protocol": "8080=tcp", "sidecar.istio.io/inject": "true"}
    check_annotations("harness/service", container, good)
    check_annotations("curlimages/curl", container, {"sidecar.istio.io/inject": "true"})
    check_annotations("auto", container, {})
