"""Who sees which service and whose rules: Sidecar, exportTo, and delegation.

The statements are those of istio.io/latest/docs/reference/config/networking: sidecar, virtual-service (exportTo,
Delegate), destination-rule and of docs/reference/config/annotations (networking.istio.io/exportTo).
"""

import pytest
from live import service, steadily

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def callers(mesh):
    """A program in each of two namespaces; web is in the first."""
    with (
        mesh.namespace("near", service("web", "v1", "v2"), service("curl")),
        mesh.namespace("far", service("curl"), service("other")),
        mesh.caller("near", "app=curl") as near,
        mesh.caller("far", "app=curl") as far,
    ):
        yield near, far


URL = "http://web.near:8000/"


def marked(mark, more="", hosts="[web.near.svc.cluster.local]", name="marked"):
    """A VirtualService whose answers carry a mark."""
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec:
  hosts: {hosts}
  {more}
  http:
  - route: [{{destination: {{host: web.near.svc.cluster.local}}}}]
    headers: {{response: {{set: {{x-mark: {mark}}}}}}}
"""


def mark(caller, path=""):
    """The mark of an answer."""
    return caller.get(URL + path).headers.get("x-mark")


def test_a_sidecar_hides_what_it_does_not_name(mesh, callers):
    """With egress hosts "./*" other namespaces are not found; the caller's own are; elsewhere nothing changes."""
    near, far = callers
    only = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default}
spec: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}, egress: [{hosts: ["./*", "istio-system/*"]}]}
"""
    assert [near.code(URL), far.code(URL)] == [200, 200]
    with mesh.applied(only, "far"):
        steadily(lambda: far.code(URL) == 502)
        assert far.code("http://other:8000/") == 200
        assert near.code(URL) == 200
        mesh.apply(only.replace('"istio-system/*"', '"near/web.near.svc.cluster.local"'), "far")
        steadily(lambda: far.code(URL) == 200)
        assert far.code("http://curl.near:8000/") == 502
    steadily(lambda: far.code("http://curl.near:8000/") == 200)


def test_a_rule_is_for_the_namespaces_it_is_exported_to(mesh, callers):
    """With "." a VirtualService stays at home, with a name it is for that namespace; by default it is for all."""
    near, far = callers
    with mesh.applied(marked("all"), "near"):
        steadily(lambda: [mark(near), mark(far)] == ["all", "all"])
        mesh.apply(marked("home", "exportTo: ['.']"), "near")
        steadily(lambda: [mark(near), mark(far)] == ["home", None])
        mesh.apply(marked("there", "exportTo: [far]"), "near")
        steadily(lambda: [mark(near), mark(far)] == [None, "there"])


def test_a_service_that_is_kept_at_home_is_not_found_elsewhere(mesh, callers):
    """The annotation networking.istio.io/exportTo of a Service."""
    near, far = callers
    annotate = ("-n", "near", "annotate", "service", "web")
    strict = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default}
spec: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}}
"""
    with mesh.applied(strict, "far"):
        mesh.kubectl(*annotate, "networking.istio.io/exportTo=.")
        try:
            steadily(lambda: far.code(URL) == 502)
            assert near.code(URL) == 200
        finally:
            mesh.kubectl(*annotate, "networking.istio.io/exportTo-")
        steadily(lambda: far.code(URL) == 200)


def test_a_destination_rule_that_is_kept_at_home_defines_no_subsets_elsewhere(mesh, callers):
    """A route to its subset works at home; elsewhere there is no such cluster: 503."""
    near, far = callers
    subsets = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec: {host: web.near.svc.cluster.local, exportTo: ["."], subsets: [{name: v2, labels: {version: v2}}]}
"""
    to_v2 = marked("v2").replace(
        "{host: web.near.svc.cluster.local}", "{host: web.near.svc.cluster.local, subset: v2}"
    )
    with mesh.applied(subsets, "near"), mesh.applied(to_v2, "near"):
        steadily(lambda: set(near.versions(URL, 4)) == {"v2"})
        steadily(lambda: far.code(URL) == 503)


def test_a_virtual_service_hands_parts_of_its_paths_to_others(mesh, callers):
    """Delegation: the root decides by prefix, the delegate's own matches inside that; both must hold."""
    near, _ = callers
    root = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: root}
spec:
  hosts: [web.near.svc.cluster.local]
  http:
  - match: [{uri: {prefix: /a}}]
    delegate: {name: part, namespace: far}
  - route: [{destination: {host: web.near.svc.cluster.local}}]
    headers: {response: {set: {x-mark: root}}}
"""
    part = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: part}
spec:
  http:
  - match: [{uri: {prefix: /a/deep}}]
    route: [{destination: {host: web.near.svc.cluster.local}}]
    headers: {response: {set: {x-mark: deep}}}
  - route: [{destination: {host: web.near.svc.cluster.local}}]
    headers: {response: {set: {x-mark: part}}}
"""
    with mesh.applied(part, "far"), mesh.applied(root, "near"):
        steadily(lambda: [mark(near, path) for path in ("", "a", "a/deep/x")] == ["root", "part", "deep"])
    steadily(lambda: mark(near) is None)
