"""Mutual TLS and its migration, and authorization for HTTP.

The statements are those of istio.io/latest/docs/tasks/security: authentication/authn-policy,
authentication/mtls-migration, authorization/authz-http, authz-deny and authz-dry-run; namespaces foo and bar have
sidecars, legacy has none.
"""

import httpx
import pytest
from live import Caller, service, steadily
from support import eventually

pytestmark = pytest.mark.e2e
URL = "http://web.foo:8000/"
DENIED = "RBAC: access denied"
BOTH = {"http": (8000, 8080), "admin": (8001, 8081)}


def peers(mode, name="default", selector="", ports=""):
    """A PeerAuthentication."""
    fields = [f"mtls: {{mode: {mode}}}"]
    fields += [f"selector: {{matchLabels: {{app: {selector}}}}}"] if selector else []
    fields += [f"portLevelMtls: {{{ports}}}"] if ports else []
    return f"""
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: {name}}}
spec: {{{", ".join(fields)}}}
"""


def policy(spec, name="web", more=""):
    """An AuthorizationPolicy; `spec` is a YAML mapping in braces."""
    spec = " ".join(spec.split())
    return f"""
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: {name}{more}}}
spec: {spec}
"""


@pytest.fixture(scope="module")
def towns(mesh):
    """Who calls: a program in foo and in bar, and one without a sidecar."""
    with (
        mesh.namespace("foo", service("web", ports=BOTH), service("curl")),
        mesh.namespace("bar", service("curl")),
        mesh.caller("foo", "app=curl") as foo,
        mesh.caller("bar", "app=curl") as bar,
        Caller() as legacy,
    ):
        yield {"foo": foo, "bar": bar, "legacy": legacy}


@pytest.fixture(scope="module")
def pod(mesh, towns):
    """The address of web's pod, which is all that somebody without a sidecar knows."""
    (found,) = mesh.pods("foo", "app=web")
    return found["status"]["podIP"]


@pytest.fixture
def code(towns, pod):
    """The status of web's answer to somebody; 0 when the connection is closed."""

    def ask(who, path="", port=8000, **headers):
        if who == "legacy":
            # A new connection each time: one that was open before a change goes on.
            with Caller() as caller:
                return caller.code(f"http://{pod}:{port + 80}/{path}", **headers)
        return towns[who].code(f"http://web.foo:{port}/{path}", **headers)

    return ask


class TestMutualTlsMigration:
    """https://istio.io/latest/docs/tasks/security/authentication/mtls-migration."""

    def test_everybody_is_served_until_the_namespace_is_strict_and_then_the_mesh(self, mesh, code):
        """PERMISSIVE: both kinds of callers; STRICT: no plaintext; and back."""
        assert [code(who) for who in ("foo", "bar", "legacy")] == [200, 200, 200]
        with mesh.applied(peers("STRICT"), "foo"):
            steadily(lambda: code("legacy") == 0)
            assert [code("foo"), code("bar")] == [200, 200]
        steadily(lambda: code("legacy") == 200)
        with mesh.applied(peers("STRICT"), "istio-system"):
            steadily(lambda: code("legacy") == 0)
            assert [code("foo"), code("bar")] == [200, 200]
        steadily(lambda: code("legacy") == 200)

    def test_calls_between_sidecars_are_under_mutual_tls_by_themselves(self, mesh, code, pod):
        """Auto mTLS: the callee knows who calls, and counts it so; plaintext counts as none."""
        assert [code("bar"), code("legacy")] == [200, 200]
        counted = 'istio_requests_total{reporter="destination",destination_workload="web-v1",'
        told = 'source_principal="spiffe://cluster.local/ns/bar/sa/curl",connection_security_policy="mutual_tls"}'
        eventually(lambda: mesh.total(counted + told) > 0)
        eventually(lambda: mesh.total(counted + 'connection_security_policy="none"}') > 0)

    def test_one_workload_or_one_port_may_differ(self, mesh, code):
        """A workload's policy beats the namespace's, a port's beats the workload's (by the pod's own port)."""
        strict = peers("STRICT", name="web", selector="web", ports="8081: {mode: DISABLE}")
        with mesh.applied(strict, "foo"):
            steadily(lambda: code("legacy") == 0)
            steadily(lambda: code("legacy", port=8001) == 200)
            steadily(lambda: [code("bar"), code("bar", port=8001)] == [200, 200])

    def test_a_caller_told_not_to_use_tls_is_refused_by_a_strict_server(self, mesh, code):
        """A DestinationRule with DISABLE against STRICT: 503."""
        plain = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec: {host: web.foo.svc.cluster.local, trafficPolicy: {tls: {mode: DISABLE}}}
"""
        with mesh.applied(peers("STRICT"), "foo"), mesh.applied(plain, "foo"):
            steadily(lambda: code("bar") == 503)
        steadily(lambda: code("bar") == 200)


class TestAuthorizationForHttp:
    """https://istio.io/latest/docs/tasks/security/authorization/authz-http."""

    def test_nothing_is_allowed_and_then_what_is_asked_for(self, mesh, towns, code):
        """`spec: {}` denies all with 403; an ALLOW policy for GET by one account opens it for that alone."""
        viewer = """
{selector: {matchLabels: {app: web}}, action: ALLOW, rules: [{
  from: [{source: {principals: [cluster.local/ns/bar/sa/curl]}}], to: [{operation: {methods: [GET]}}]}]}
"""
        with mesh.applied(policy("{}", name="allow-nothing"), "foo"):
            steadily(lambda: [code("foo"), code("bar"), code("legacy")] == [403, 403, 403])
            assert towns["foo"].get(URL).text == DENIED
            with mesh.applied(policy(viewer), "foo"):
                steadily(lambda: code("bar") == 200)
                assert code("foo") == 403
                assert code("legacy") == 403
            steadily(lambda: code("bar") == 403)
        steadily(lambda: code("foo") == 200)

    @pytest.mark.parametrize(
        ("source", "served"),
        [
            ("namespaces: [foo]", {"foo"}),
            ("notNamespaces: [foo]", {"bar", "legacy"}),
            ("principals: ['*']", {"foo", "bar"}),
            ("serviceAccounts: [bar/curl]", {"bar"}),
            ("ipBlocks: [127.0.0.1/32]", {"legacy"}),
        ],
    )
    def test_callers_are_told_apart(self, mesh, code, source, served):
        """By namespace, account or address; a sidecar's address is its pod's."""
        with mesh.applied(policy(f"{{action: ALLOW, rules: [{{from: [{{source: {{{source}}}}}]}}]}}"), "foo"):
            everybody = ("foo", "bar", "legacy")
            steadily(lambda: {who for who in everybody if code(who) == 200} == served)
            assert {who for who in everybody if code(who) == 403} == set(everybody) - served


class TestExplicitDeny:
    """https://istio.io/latest/docs/tasks/security/authorization/authz-deny."""

    def test_what_is_denied_is_denied_whatever_is_allowed(self, mesh, code):
        """GET is denied unless the header x-token is admin; an ALLOW policy on top narrows it to one path."""
        deny = """
{action: DENY, rules: [{to: [{operation: {methods: [GET]}}],
  when: [{key: "request.headers[x-token]", notValues: [admin]}]}]}
"""
        allow = "{action: ALLOW, rules: [{to: [{operation: {paths: [/ip]}}]}]}"
        with mesh.applied(policy(deny, name="deny-get"), "foo"):
            steadily(lambda: code("bar") == 403)
            assert code("bar", x_token="admin") == 200
            assert code("bar", x_token="guest") == 403
            with mesh.applied(policy(allow, name="allow-ip"), "foo"):
                steadily(lambda: code("bar", x_token="admin") == 403)
                assert code("bar", "ip", x_token="admin") == 200
                assert code("bar", "ip", x_token="guest") == 403


class TestDryRun:
    """https://istio.io/latest/docs/tasks/security/authorization/authz-dry-run."""

    def test_a_policy_that_is_tried_out_counts_and_refuses_nobody(self, mesh, code):
        """Everything is answered; what would have been denied is in Envoy's own series."""
        tried = ', annotations: {istio.io/dry-run: "true"}'
        deny = "{selector: {matchLabels: {app: web}}, action: DENY, rules: [{to: [{operation: {paths: [/secret]}}]}]}"
        with mesh.applied(policy(deny, name="tried", more=tried), "foo"):
            shadow = (
                '{__name__=~"envoy_http.*_rbac",authz_dry_run_action="deny",authz_dry_run_result="denied"}'
            )
            eventually(lambda: code("bar", "secret") == 200 and mesh.total(shadow) > 0)
            assert [code("bar", "secret") for _ in range(5)] == [200] * 5


def test_the_entry_can_be_guarded_by_address(mesh):
    """https://istio.io/latest/docs/tasks/security/authorization/authz-ingress: ipBlocks at the ingress gateway."""
    page = f"{mesh.addresses.entry_url}/productpage"
    spec = """{{selector: {{matchLabels: {{app: istio-ingressgateway}}}}, action: ALLOW,
      rules: [{{from: [{{source: {{ipBlocks: [{}]}}}}]}}]}}"""
    assert httpx.get(page).status_code == 200
    with mesh.applied(policy(spec.format("10.1.2.3"), name="entry"), "istio-system"):
        steadily(lambda: httpx.get(page).status_code == 403)
        mesh.apply(policy(spec.format("127.0.0.0/8"), name="entry"), "istio-system")
        steadily(lambda: httpx.get(page).status_code == 200)
