"""Objects as users of the official Kubernetes client write them, and how its calls are refused."""

from __future__ import annotations

import pytest
from kubernetes import client
from kubernetes.client.rest import ApiException

ISTIO = {"group": "networking.istio.io", "version": "v1", "namespace": "default"}
LABELS = {"app": "web"}


def container(**more):
    """A container, without anything that does not matter here."""
    return client.V1Container(name="main", image="web", **more)


def pod(name, **metadata):
    """A pod of one container."""
    return client.V1Pod(
        metadata=client.V1ObjectMeta(name=name, **metadata), spec=client.V1PodSpec(containers=[container()])
    )


def deployment(name):
    """A Deployment of two pods."""
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels=LABELS), spec=client.V1PodSpec(containers=[container()])
    )
    selector = client.V1LabelSelector(match_labels=LABELS)
    return client.V1Deployment(
        metadata=client.V1ObjectMeta(name=name),
        spec=client.V1DeploymentSpec(replicas=2, selector=selector, template=template),
    )


def virtual_service(name, host="reviews"):
    """A VirtualService that routes `host` to itself."""
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name},
        "spec": {"hosts": [host], "http": [{"route": [{"destination": {"host": host}}]}]},
    }


def refused(call, *arguments, **options):
    """The refusal of a call."""
    with pytest.raises(ApiException) as caught:
        call(*arguments, **options)
    return caught.value
