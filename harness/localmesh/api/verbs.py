"""The verbs: what the API answers to a request, without sockets."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from harness.localmesh.api import options, patch, routes, status, subresources, tables, watching
from harness.localmesh.api.discovery import document
from harness.localmesh.api.messages import Request, Response, Stream, decode, decode_object, response
from harness.localmesh.api.resources import api_version
from harness.localmesh.api.routes import Route
from harness.localmesh.api.subresources import PodAccess
from harness.localmesh.errors import Refused
from harness.localmesh.kinds.parse import Manifest
from harness.localmesh.objects import with_metadata
from harness.localmesh.store import Section, Store

_LOG = logging.getLogger(__name__)
_ATTEMPTS = 100
# Kubernetes answers the deletion of these with the object, of all others with a Status.
_DELETED_RETURNED = frozenset(("pods", "services", "serviceaccounts"))

Answer = Response | Stream
Change = Callable[[Manifest], Manifest]


class Api:
    """The API over `store`; logs are asked of `pods`."""

    def __init__(self, store: Store, pods: PodAccess) -> None:
        self._store = store
        self._pods = pods
        self._object = {
            ("", "GET"): self._get,
            ("", "PUT"): self._replace,
            ("", "PATCH"): self._patch,
            ("", "DELETE"): self._delete,
            ("status", "GET"): self._get,
            ("status", "PUT"): self._replace,
            ("status", "PATCH"): self._patch,
            ("scale", "GET"): self._get_scale,
            ("scale", "PUT"): self._replace_scale,
            ("scale", "PATCH"): self._patch_scale,
            ("log", "GET"): self._log,
        }
        self._collection = {"GET": self._list, "POST": self._create, "DELETE": self._delete_collection}

    def dispatch(self, request: Request) -> Answer:
        """The answer to `request`; every failure is one too, a `Status`."""
        try:
            if request.method == "GET" and (found := document(request)):
                return found
            route = routes.route(request.path)
            return self._verb(request, route)(request, route)
        except Refused as refused:
            return response(status.failure(refused), refused.code)
        # A bug of ours must not take the connection, and with it the client's other requests, along.
        except Exception:
            _LOG.exception("%s %s", request.method, request.path)
            why = "the local mesh failed on this request; its log has the traceback"
            return response(status.failure(Refused(500, "InternalError", why)), 500)

    def _verb(self, request: Request, route: Route) -> Callable[[Request, Route], Answer]:
        if route.subresource == "proxy":
            return self._proxy
        if not request.acceptable:
            why = "only the following media types are accepted: application/json"
            raise Refused(406, "NotAcceptable", why)
        if route.name:
            found = self._object.get((route.subresource, request.method))
        else:
            found = self._collection.get(request.method)
        if found is None:
            raise status.no_such_method()
        return found

    def _get(self, request: Request, route: Route) -> Answer:
        options.check(request.query, "get")
        options.revision(request.query)
        found = self._store.get(route.resource, route.namespace, route.name)
        if request.wants_table:
            return response(_table(request, route, [found], found["metadata"]["resourceVersion"]))
        return response(_shown(route, found))

    def _list(self, request: Request, route: Route) -> Answer:
        options.check(request.query, "list")
        where = options.selection(request.query, route.resource)
        how = options.watching(request.query)
        if how:
            scope = watching.Scope(
                route.resource, route.version, route.namespace, where, _show(request, route)
            )
            return Stream(watching.frames(self._store, scope, how))
        items, revision = self._store.snapshot(route.resource, route.namespace, where)
        asked = options.revision(request.query)
        if request.query.get("resourceVersionMatch") == "Exact" and asked != revision:
            raise status.expired(asked, revision)
        if request.wants_table:
            return response(_table(request, route, items, str(revision)))
        return response(_listed(route, items, revision))

    def _create(self, request: Request, route: Route) -> Answer:
        options.check(request.query, "create")
        if route.resource.namespaced and not route.namespace:
            raise status.no_such_method()
        manifest = _stored(route, decode_object(request.body, request.media_type))
        dry_run = options.dry_run(request.query)
        return response(_shown(route, self._store.create(route.resource, manifest, dry_run=dry_run)), 201)

    def _replace(self, request: Request, route: Route) -> Answer:
        options.check(request.query, "replace")
        manifest = _stored(route, decode_object(request.body, request.media_type))
        return response(_shown(route, self._write(request, route, manifest)))

    def _patch(self, request: Request, route: Route) -> Answer:
        apply, body = self._patcher(request, route)
        return response(
            _shown(route, self._change(request, route, lambda old: _patched(apply(_shown(route, old), body))))
        )

    def _delete(self, request: Request, route: Route) -> Answer:
        how = _deleting(request, "delete")
        last, gone = self._delete_one(route, how)
        if gone and route.resource.plural not in _DELETED_RETURNED:
            return response(status.success(route.resource, route.name, last["metadata"]["uid"]))
        return response(_shown(route, last))

    def _delete_collection(self, request: Request, route: Route) -> Answer:
        how = _deleting(request, "deletecollection")
        where = options.selection(request.query, route.resource)
        items, revision = self._store.snapshot(route.resource, route.namespace, where)
        for item in items:
            metadata = item["metadata"]
            one = replace(route, namespace=metadata.get("namespace", ""), name=metadata["name"])
            try:
                self._delete_one(one, how)
            except Refused as refused:
                # Another writer, or the deletion of its owner, was faster.
                if refused.code != 404:
                    raise
        return response(_listed(route, items, revision))

    def _delete_one(self, route: Route, how: options.Deleting) -> tuple[Manifest, bool]:
        return self._store.delete(
            route.resource,
            route.namespace,
            route.name,
            grace=how.grace,
            propagation=how.propagation,
            uid=how.uid,
            revision=how.revision,
            dry_run=how.dry_run,
        )

    def _get_scale(self, request: Request, route: Route) -> Answer:
        options.check(request.query, "get")
        return response(subresources.scale_of(self._store.get(route.resource, route.namespace, route.name)))

    def _replace_scale(self, request: Request, route: Route) -> Answer:
        options.check(request.query, "replace")
        scale = decode_object(request.body, request.media_type)
        written = self._change(request, route, lambda old: subresources.scaled(old, scale))
        return response(subresources.scale_of(written))

    def _patch_scale(self, request: Request, route: Route) -> Answer:
        apply, body = self._patcher(request, route)
        written = self._change(
            request,
            route,
            lambda old: subresources.scaled(old, _patched(apply(subresources.scale_of(old), body))),
        )
        return response(subresources.scale_of(written))

    def _log(self, request: Request, route: Route) -> Answer:
        options.check(request.query, "log")
        for name in ("follow", "previous"):
            if options.flag(request.query, name):
                raise _bad_log_option(name)
        pod = self._store.get(route.resource, route.namespace, route.name)
        container = subresources.container_of(pod, request.query.get("container", ""))
        log = self._pods.logs(route.namespace, route.name, container)
        query = request.query
        lines, limit = options.number(query, "tailLines"), options.number(query, "limitBytes")
        return Response(200, subresources.last_lines(log, lines, limit), "text/plain")

    def _proxy(self, request: Request, route: Route) -> Answer:
        name, port = subresources.proxied_name(route.name)
        pod = self._store.get(route.resource, route.namespace, name)
        return subresources.proxy(pod, port, route.rest, request)

    def _patcher(self, request: Request, route: Route) -> tuple[patch.Patch, Any]:
        apply = patch.patcher(route.resource, request.media_type)
        options.check(request.query, "patch")
        return apply, decode(request.body, request.media_type)

    def _change(self, request: Request, route: Route, change: Change) -> Manifest:
        """Write what `change` makes of the newest object; again when another writer was faster.

        When `change` itself insists on a resourceVersion that is not the newest, that is a conflict.
        """
        for _ in range(_ATTEMPTS):
            old = self._store.get(route.resource, route.namespace, route.name)
            current = old["metadata"]["resourceVersion"]
            new = _stored(route, change(old))
            asked = new["metadata"].get("resourceVersion") or current
            try:
                return self._write(request, route, with_metadata(new, resourceVersion=asked))
            except Refused as refused:
                if refused.reason != "Conflict" or asked != current:
                    raise
        raise status.conflict(route.resource, route.name)

    def _write(self, request: Request, route: Route, manifest: Manifest) -> Manifest:
        section: Section = "status" if route.subresource == "status" else ""
        dry_run = options.dry_run(request.query)
        return self._store.replace(route.resource, manifest, section=section, dry_run=dry_run)


def _bad_log_option(name: str) -> Refused:
    return status.bad_request(f"{name}: the local mesh does not serve logs with this option; ask without it")


def _deleting(request: Request, verb: str) -> options.Deleting:
    options.check(request.query, verb)
    body = decode(request.body, request.media_type) if request.body.strip() else {}
    if body is not None and not isinstance(body, dict):
        raise status.bad_request("the body is not a DeleteOptions object")
    return options.deleting(request.query, body)


def _stored(route: Route, manifest: Manifest) -> Manifest:
    """`manifest`, as a client sent it to `route`, in the version it is stored in."""
    resource = route.resource
    expected = api_version(resource.group, route.version)
    version, kind = manifest.get("apiVersion") or expected, manifest.get("kind") or resource.kind
    if version not in (expected, resource.api_version) or kind != resource.kind:
        what = f"{version}, Kind={kind}) does not match the expected one ({expected}, Kind={resource.kind}"
        raise status.bad_request(f"the object provided is unrecognized: its type ({what})")
    metadata = manifest["metadata"]
    namespace, name = metadata.get("namespace") or route.namespace, metadata.get("name") or route.name
    if resource.namespaced and namespace != route.namespace:
        raise status.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    if route.name and name != route.name:
        raise status.bad_request(
            f"the name of the object ({name}) does not match the name on the URL ({route.name})"
        )
    home = {"namespace": namespace} if resource.namespaced else {}
    metadata = {**metadata, **home, **({"name": name} if name else {})}
    return {**manifest, "apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}


def _shown(route: Route, manifest: Manifest) -> Manifest:
    if route.version == route.resource.version:
        return manifest
    return {**manifest, "apiVersion": api_version(route.resource.group, route.version)}


def _show(request: Request, route: Route) -> watching.Show:
    if request.wants_table:
        return lambda manifest: _table(request, route, [manifest], manifest["metadata"]["resourceVersion"])
    return lambda manifest: _shown(route, manifest)


def _listed(route: Route, items: tuple[Manifest, ...], revision: int) -> Manifest:
    return {
        "kind": f"{route.resource.kind}List",
        "apiVersion": api_version(route.resource.group, route.version),
        "metadata": {"resourceVersion": str(revision)},
        "items": [_shown(route, item) for item in items],
    }


def _table(request: Request, route: Route, items: Sequence[Manifest], revision: str) -> Manifest:
    include = request.query.get("includeObject") or "Metadata"
    shown = [_shown(route, item) for item in items]
    return tables.table(route.resource, shown, revision, tables.now(), include)


def _patched(result: Any) -> Manifest:
    if not isinstance(result, dict) or not isinstance(result.get("metadata"), dict):
        raise status.bad_request("the patch leaves no object with metadata")
    return result
