"""The stock of a small shop behind the API, and the changes that tests make to it."""

from certs import Issuer

from harness.changes import ABSENT, Create, Delete, Edit, Patch, Ref, Rotate
from harness.faults import BlastRadius, Target
from harness.injection import apply_changes, resolve

CATALOG = Ref("networking.istio.io/v1", "VirtualService", "shop", "catalog")
CATALOG_PATH = "/apis/networking.istio.io/v1/namespaces/shop/virtualservices/catalog"
POLICY = Ref("security.istio.io/v1", "PeerAuthentication", "shop", "strict")
FILTER = Ref("networking.istio.io/v1alpha3", "EnvoyFilter", "shop", "extra")
FILTER_PATH = "/apis/networking.istio.io/v1alpha3/namespaces/shop/envoyfilters/extra"
ROOT = Ref("v1", "Secret", "istio-system", "istio-ca-secret")
OLD_ROOT = Issuer("cluster.local")
WIDE = BlastRadius(max_pods=3)


def manifest_of(ref, **spec):
    """An object as people write it."""
    metadata = {"name": ref.name, "namespace": ref.namespace}
    return {"apiVersion": ref.api_version, "kind": ref.kind, "metadata": metadata, "spec": spec}


def ready_pod(number, ready="True", app="payments", namespace="shop"):
    """A pod that its ReplicaSet would replace."""
    owner = {"kind": "ReplicaSet", "name": app, "controller": True}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{app}-{number}",
            "namespace": namespace,
            "uid": f"u{number}" if app == "payments" else f"u-{app}-{number}",
            "labels": {"app": app},
            "ownerReferences": [owner],
        },
        "spec": {"containers": [{"name": "app"}, {"name": "istio-proxy"}]},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


RETRIES = Patch(CATALOG, (Edit(("spec", "http", 0, "retries"), ABSENT),))
CHANGES = (
    RETRIES,
    Create(manifest_of(FILTER, configPatches=[])),
    Delete(POLICY),
    Patch(
        CATALOG, (Edit(("metadata", "annotations", "team/pager"), "off"), Edit(("spec", "hosts", 1), "extra"))
    ),
)
EVERY = (*CHANGES, Rotate(ROOT))


def fill(api):
    """Puts a route with retries, a policy, a root and two ready pods in the place of whatever there was."""
    api.objects = {path: kept for path, kept in api.objects.items() if "kube-system" in path}
    api.put(manifest_of(CATALOG, hosts=["catalog"], http=[{"retries": {"attempts": 2}, "route": []}]))
    api.put(manifest_of(POLICY, mtls={"mode": "STRICT"}))
    api.put(OLD_ROOT.secret())
    for number in (1, 2):
        api.put(ready_pod(number))


def state(api):
    """What people wrote: an object that was created again has another UID."""
    found = api.state()
    for manifest in found.values():
        manifest["metadata"].pop("uid")
    return found


def scene_of(cluster):
    """What a fault on payments finds."""
    return resolve(cluster, Target("payments", "shop"), run="run", seed=1)


def apply_to(cluster, ledger, *changes, run="run"):
    """Changes that are in force until they are reverted, for a minute at most."""
    return apply_changes(cluster, changes, run=run, ledger=ledger, expires_in=60)


def deployed(shop, replicas=2, app="payments", namespace="shop"):
    """The ReplicaSet and the Deployment behind the pods of payments, or of another app."""
    set_ = f"{app}-abc"
    meta = {"namespace": namespace, "name": set_}
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": app, "controller": True}
    shop.put(
        {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": meta | {"ownerReferences": [owner]},
            "spec": {},
        }
    )
    spec = {"replicas": replicas, "template": {"metadata": {"labels": {"app": app}}}}
    meta = {"namespace": namespace, "name": app}
    shop.put({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec})
    for number in range(1, replicas + 1):
        pod = ready_pod(number, app=app, namespace=namespace)
        pod["metadata"]["ownerReferences"][0] |= {"apiVersion": "apps/v1", "name": set_}
        shop.put(pod)


def forbidden(api):
    """The refusal of an API server that does not let its caller do that."""
    return api.reply(403, {"kind": "Status", "reason": "Forbidden", "message": "no", "code": 403})


class Outage:
    """From the write with this number on, every request is refused; that write may have its effect, unanswered."""

    def __init__(self, api, number, *, effect):
        self._api, self._left, self._effect = api, number, effect
        api.before, api.after = self.before, self.after

    def before(self, request):
        """Counts down with the writes."""
        if self._left < 0:
            return forbidden(self._api)
        if request.method != "GET":
            self._left -= 1
        return forbidden(self._api) if self._left < 0 and not self._effect else None

    def after(self, _request):
        """The last write's answer is lost."""
        return self._api.reply(0) if self._left < 0 else None
