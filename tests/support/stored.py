"""Objects as they are written into a store."""

from __future__ import annotations


def config_map(name, **data):
    """A ConfigMap."""
    return {"metadata": {"name": name, "namespace": "default"}, "data": data}


def pod(name, owners=(), **metadata):
    """A pod with these owners."""
    references = [
        {"apiVersion": "v1", "kind": "X", "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}
        for owner in owners
    ]
    owned = {"ownerReferences": references} if references else {}
    return {
        "metadata": {"name": name, "namespace": "default", **owned, **metadata},
        "spec": {"containers": [{"name": "main", "image": "i"}]},
    }


def names(items):
    """Their names."""
    return [item["metadata"]["name"] for item in items]
