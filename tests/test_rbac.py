"""Roles that are just enough, and a manifest for the healer."""

import yaml
from scenes import scene

from harness.changes import ABSENT, Attach, Create, Delete, Edit, Patch, Ref, Rotate
from harness.cli import main
from harness.faults import Abort, PodKill, RootRotation, foreseen
from harness.leftovers import KINDS
from harness.rbac import Need, missing, needs, plural, roles

ROUTE = Ref("networking.istio.io/v1", "VirtualService", "shop", "catalog")


def test_plurals_are_those_of_the_kinds(kube_api):
    """Of all the kinds among which leftovers are looked for."""
    guessed = {plural(kind) for _version, kind in KINDS}
    assert {"networkpolicies", "gateways", "serviceentries", "telemetries", "peerauthentications"} <= guessed
    assert plural("Ingress") == "ingresses"


def test_what_is_needed_follows_from_the_changes():
    """A patch is read and written, a created object is deleted again, a deleted one is kept and created again."""
    patched = needs([Patch(ROUTE, (Edit(("spec", "x"), ABSENT),))], "shop")
    assert {need.verb for need in patched if need.resource == "virtualservices"} == {"get", "update"}
    created = needs(
        [Create({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "namespace": "b"}})], "b"
    )
    assert {need.verb for need in created if need.resource == "services"} == {"get", "create", "delete"}
    killed = needs([Delete(Ref("v1", "Pod", "shop", "a"))], "shop")
    assert {need.verb for need in killed if need.resource == "pods"} == {"list", "get", "delete"}
    put = needs([Attach(Ref("v1", "Pod", "shop", "a"), {"name": "quit"}, 1.0)], "shop")
    assert Need("shop", "", "pods/ephemeralcontainers", "update") in put
    assert {need.verb for need in put if need.resource == "pods"} == {"list", "get"}
    deleted = needs([Delete(ROUTE)], "shop")
    assert {need.verb for need in deleted if need.resource == "configmaps"} == {"get", "create", "delete"}
    assert Need("shop", "", "pods/proxy", "get") in needs([], "shop", probes=True) - needs([], "shop")


def test_a_fault_that_goes_on_needs_the_rights_for_that_from_the_beginning():
    """To change what it has created, and to delete pods again."""
    rising = needs(foreseen(Abort(503, ramp=10), scene()), "shop")
    filters = {need.verb for need in rising if need.resource == "envoyfilters"}
    assert filters == {"get", "create", "delete", "update"}
    once = needs(foreseen(Abort(503), scene()), "shop")
    assert {need.verb for need in once if need.resource == "envoyfilters"} == filters - {"update"}


def test_a_rotation_needs_the_secret_and_a_copy_beside_it():
    """What certificates tell is asked of the target's agents."""
    rotated = needs([Rotate(Ref("v1", "Secret", "istio-system", "cacerts"))], "shop", fault=RootRotation())
    verbs = {need.verb for need in rotated if need.resource == "secrets"}
    assert verbs == {"get", "update", "create", "delete"}
    assert {need.namespace for need in rotated if need.resource == "secrets"} == {"istio-system"}
    assert Need("shop", "", "pods/proxy", "get") in rotated
    assert Need("shop", "", "configmaps", "get", "istio-ca-root-cert") in rotated
    assert not {need for need in needs([], "shop", fault=PodKill()) if need.resource == "pods/proxy"}


def test_roles_give_exactly_what_is_needed():
    """One Role for each namespace, and a ClusterRole for what lies in none."""
    wanted = needs([Patch(ROUTE, (Edit(("spec", "x"), ABSENT),))], "shop")
    given = set()
    for role in roles(wanted):
        for rule in role["rules"]:
            place = role["metadata"].get("namespace", "")
            assert (role["kind"] == "Role") == bool(place)
            given |= {
                Need(place, group, resource, verb, name)
                for group in rule["apiGroups"]
                for resource in rule["resources"]
                for verb in rule["verbs"]
                for name in rule.get("resourceNames", [""])
            }
    assert given == wanted


def test_what_the_credentials_may_not_is_named(cluster, kube_api):
    """As the cluster answers; nothing is written."""
    wanted = needs([Patch(ROUTE, (Edit(("spec", "x"), ABSENT),))], "shop")
    assert missing(cluster, wanted) == ()
    kube_api.forbidden.add("update")
    lacking = [str(need) for need in missing(cluster, wanted)]
    assert "update virtualservices.networking.istio.io in namespace shop" in lacking
    assert all(text.startswith("update") for text in lacking)
    assert kube_api.writes() == []


def test_the_manifest_of_the_healer_names_what_it_may_and_runs_the_command(capsys):
    """It is printed without a cluster, and is whole."""
    assert main(["heal", "--manifest", "--image", "registry.example/harness:1"]) == 0
    found = {manifest["kind"]: manifest for manifest in yaml.safe_load_all(capsys.readouterr().out)}
    assert set(found) == {"ServiceAccount", "ConfigMap", "ClusterRole", "ClusterRoleBinding", "CronJob"}
    pod = found["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == found["ServiceAccount"]["metadata"]["name"]
    assert pod["containers"][0]["image"] == "registry.example/harness:1"
    granted = {resource for rule in found["ClusterRole"]["rules"] for resource in rule["resources"]}
    assert granted == {plural(kind) for _version, kind in KINDS}
    assert yaml.safe_load(found["ConfigMap"]["data"]["config"])["current-context"] == "inside"
