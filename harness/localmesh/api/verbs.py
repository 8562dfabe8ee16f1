"""The verbs: what the API answers to a request, without sockets."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from harness.localmesh import disruption
from harness.localmesh.api import (
    absent,
    agent,
    logs,
    options,
    paging,
    patch,
    reviews,
    routes,
    status,
    subresources,
    views,
    watching,
)
from harness.localmesh.api.apply import apply
from harness.localmesh.api.discovery import document
from harness.localmesh.api.logs import PodAccess
from harness.localmesh.api.messages import (
    Request,
    Response,
    Stream,
    check_metadata,
    decode,
    decode_object,
    refusal,
    response,
)
from harness.localmesh.api.resources import NAMESPACES
from harness.localmesh.api.routes import Route
from harness.localmesh.api.selectors import Predicate
from harness.localmesh.api.writers import Writer
from harness.localmesh.errors import Refused
from harness.localmesh.kinds.parse import Manifest, invalid
from harness.localmesh.objects import with_metadata
from harness.localmesh.store import Section, Store

_LOG = logging.getLogger(__name__)
_ATTEMPTS = 100
# Kubernetes answers the deletion of these with the object, of all others with a Status.
_DELETED_RETURNED = frozenset(("pods", "services", "serviceaccounts"))
_KEPT_NAMESPACES = frozenset(("default", "kube-system", "kube-public"))
_ABSENT, _REVIEWS = frozenset(absent.ABSENT), frozenset(reviews.REVIEWS)
_WRITING = frozenset(("POST", "PUT", "PATCH"))
_SECTIONS: Mapping[str, Section] = {"status": "status", "ephemeralcontainers": "ephemeralcontainers"}

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
            ("ephemeralcontainers", "GET"): self._get,
            ("ephemeralcontainers", "PUT"): self._replace,
            ("ephemeralcontainers", "PATCH"): self._patch,
            ("scale", "GET"): self._get_scale,
            ("scale", "PUT"): self._replace_scale,
            ("scale", "PATCH"): self._patch_scale,
            ("log", "GET"): self._log,
            ("eviction", "POST"): self._evict,
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
            return refusal(refused)
        # A bug of ours must not take the connection, and with it the client's other requests, along.
        except Exception:
            _LOG.exception("%s %s", request.method, request.path)
            why = "the local mesh failed on this request; its log has the traceback"
            return refusal(Refused(500, "InternalError", why))

    def _verb(self, request: Request, route: Route) -> Callable[[Request, Route], Answer]:
        if route.subresource == "proxy":
            return self._proxy
        if not request.acceptable:
            why = "only the following media types are accepted: application/json"
            raise Refused(406, "NotAcceptable", why)
        resource = route.resource
        if resource in _REVIEWS:
            return lambda request, route: reviews.answer(request, resource, route.name)
        if resource in _ABSENT and request.method != "GET":
            return lambda request, route: absent.answer(request, resource, route.name)
        if resource.derived and request.method in _WRITING:
            why = "the local mesh makes them of the Services' selectors; a ServiceEntry names other endpoints"
            raise status.forbidden(resource, route.name, why)
        if route.name:
            found = self._object.get((route.subresource, request.method))
        else:
            found = self._collection.get(request.method)
        if found is None:
            raise status.no_such_method()
        return found

    def _get(self, request: Request, route: Route) -> Answer:
        options.check(request.query, "get")
        self._check_reached(options.revision(request.query))
        found = self._store.get(route.resource, route.namespace, route.name)
        if request.wants_table:
            return response(views.as_table(request, route, [found], found["metadata"]["resourceVersion"]))
        return response(views.shown(route, found))

    def _list(self, request: Request, route: Route) -> Answer:
        options.check(request.query, "list")
        where = options.selection(request.query, route.resource)
        how = options.watching(request.query)
        if how:
            scope = watching.Scope(
                route.resource, route.version, route.namespace, where, views.show(request, route)
            )
            return Stream(watching.frames(self._store, scope, how))
        return response(self._part(request, route, where))

    def _part(self, request: Request, route: Route, where: Predicate | None) -> Manifest:
        """The list that is asked for, or as much of it."""
        query = request.query
        at, token = options.exactly(query), query.get("continue")
        after = paging.position(token) if token else None
        if after and query.get("resourceVersion"):
            raise status.bad_request("specifying resource version is not allowed when using continue")
        self._check_reached(options.revision(query))
        at = after.revision if after else at
        items, revision = self._store.snapshot(route.resource, route.namespace, where, at=at)
        part = paging.part(items, revision, options.number(query, "limit") or 0, after)
        if request.wants_table:
            listed = views.as_table(request, route, part.items, str(revision))
        else:
            listed = views.listed(route, part.items, revision)
        if part.token:
            listed["metadata"] |= {"continue": part.token}
            # As in Kubernetes, which does not count what a selector would leave.
            listed["metadata"] |= {} if where else {"remainingItemCount": part.left}
        return listed

    def _check_reached(self, revision: int) -> None:
        if revision > self._store.revision:
            raise status.too_new(revision, self._store.revision)

    def _create(self, request: Request, route: Route) -> Answer:
        options.check(request.query, "create")
        if route.resource.namespaced and not route.namespace:
            raise status.no_such_method()
        manifest = views.stored(route, decode_object(request.body, request.media_type))
        writer = Writer(request, route)
        dry_run = options.dry_run(request.query)
        made = self._store.create(route.resource, manifest, dry_run=dry_run, author=writer.author)
        return writer.told(response(views.shown(route, made), 201))

    def _replace(self, request: Request, route: Route) -> Answer:
        options.check(request.query, "replace")
        manifest = views.stored(route, decode_object(request.body, request.media_type))
        if route.resource.conditional and not manifest["metadata"].get("resourceVersion"):
            why = "Invalid value: 0x0: must be specified for an update"
            raise invalid(manifest, "metadata.resourceVersion", why)
        writer = Writer(request, route)
        return writer.told(response(views.shown(route, self._write(request, route, manifest, writer))))

    def _patch(self, request: Request, route: Route) -> Answer:
        if request.media_type == patch.APPLY:
            return self._apply(request, route)
        apply, body = self._patcher(request, route)
        writer = Writer(request, route)
        written = self._change(
            request, route, lambda old: _patched(apply(views.shown(route, old), body)), writer
        )
        return writer.told(response(views.shown(route, written)))

    def _apply(self, request: Request, route: Route) -> Answer:
        options.check(request.query, "apply")
        writer = Writer(request, route, "Apply")
        said = views.stored(route, decode_object(request.body, request.media_type))
        force, dry_run = options.flag(request.query, "force"), options.dry_run(request.query)
        for _ in range(_ATTEMPTS):
            old = self._found(route)
            if old is not None and not _is_current(said, old):
                raise status.conflict(route.resource, route.name)
            new = apply(writer.writing, old, said, force=force)
            try:
                if old is not None:
                    revision = old["metadata"]["resourceVersion"]
                    new = with_metadata(new, resourceVersion=revision, uid=old["metadata"]["uid"])
                    written = self._write(request, route, new, writer)
                else:
                    written = self._store.create(route.resource, new, dry_run=dry_run, author=writer.author)
            except Refused as refused:
                # Another writer was faster: apply to what that one left.
                if refused.reason not in ("Conflict", "AlreadyExists"):
                    raise
                continue
            return writer.told(response(views.shown(route, written), 200 if old is not None else 201))
        raise status.conflict(route.resource, route.name)

    def _found(self, route: Route) -> Manifest | None:
        """The object to apply to; None when it is to be made."""
        try:
            return self._store.get(route.resource, route.namespace, route.name)
        except Refused as refused:
            if refused.reason != "NotFound" or route.subresource:
                raise
            return None

    def _delete(self, request: Request, route: Route) -> Answer:
        how = _deleting(request, "delete")
        last, gone = self._delete_one(route, how)
        if gone and route.resource.plural not in _DELETED_RETURNED:
            return response(status.success(route.resource, route.name, last["metadata"]["uid"]))
        return response(views.shown(route, last))

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
        return response(views.listed(route, items, revision))

    def _delete_one(self, route: Route, how: options.Deleting) -> tuple[Manifest, bool]:
        if route.resource == NAMESPACES and route.name in _KEPT_NAMESPACES:
            raise status.forbidden(route.resource, route.name, "this namespace may not be deleted")
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
        writer = Writer(request, route)
        written = self._change(request, route, lambda old: subresources.scaled(old, scale), writer)
        return writer.told(response(subresources.scale_of(written)))

    def _patch_scale(self, request: Request, route: Route) -> Answer:
        apply, body = self._patcher(request, route)
        writer = Writer(request, route)
        written = self._change(
            request,
            route,
            lambda old: subresources.scaled(old, _patched(apply(subresources.scale_of(old), body))),
            writer,
        )
        return writer.told(response(subresources.scale_of(written)))

    def _log(self, request: Request, route: Route) -> Answer:
        options.check(request.query, "log")
        log = logs.asked(self._store.get(route.resource, route.namespace, route.name), request.query)
        if options.flag(request.query, "follow"):
            return Stream(log.follow(self._pods, self._store), "text/plain")
        return Response(200, log.now(self._pods), "text/plain")

    def _evict(self, request: Request, route: Route) -> Answer:
        options.check(request.query, "create")
        eviction = decode_object(request.body, request.media_type)
        how = subresources.evicting(eviction, route.name, options.dry_run(request.query))
        pod = self._store.get(route.resource, route.namespace, route.name)
        disruption.evict(self._store, pod, dry_run=how.dry_run)
        self._delete_one(route, how)
        return response(status.success(route.resource, "", ""), 201)

    def _proxy(self, request: Request, route: Route) -> Answer:
        name, port = subresources.proxied_name(route.name)
        pod = self._store.get(route.resource, route.namespace, name)
        if agent.answers(pod, port):
            return agent.answer(request, route.rest, self._pods.certificate_expires_at(pod))
        return subresources.proxy(pod, port, route.rest, request)

    def _patcher(self, request: Request, route: Route) -> tuple[patch.Patch, Any]:
        apply = patch.patcher(route.resource, request.media_type)
        options.check(request.query, "patch")
        return apply, decode(request.body, request.media_type)

    def _change(self, request: Request, route: Route, change: Change, writer: Writer) -> Manifest:
        """Write what `change` makes of the newest object; again when another writer was faster.

        When `change` itself insists on a resourceVersion that is not the newest, that is a conflict.
        """
        for _ in range(_ATTEMPTS):
            old = self._store.get(route.resource, route.namespace, route.name)
            current = old["metadata"]["resourceVersion"]
            new = views.stored(route, change(old))
            asked = new["metadata"].get("resourceVersion") or current
            try:
                return self._write(request, route, with_metadata(new, resourceVersion=asked), writer)
            except Refused as refused:
                if refused.reason != "Conflict" or asked != current:
                    raise
        raise status.conflict(route.resource, route.name)

    def _write(self, request: Request, route: Route, manifest: Manifest, writer: Writer) -> Manifest:
        section = _SECTIONS.get(route.subresource, "")
        dry_run = options.dry_run(request.query)
        return self._store.replace(
            route.resource, manifest, section=section, dry_run=dry_run, author=writer.author
        )


def _is_current(said: Manifest, old: Manifest) -> bool:
    """Whether what an applier says is about this very object, where it says so."""
    return all(
        said["metadata"].get(name) in (None, "", old["metadata"][name]) for name in ("uid", "resourceVersion")
    )


def _deleting(request: Request, verb: str) -> options.Deleting:
    options.check(request.query, verb)
    body = decode(request.body, request.media_type) if request.body.strip() else {}
    if body is not None and not isinstance(body, dict):
        raise status.bad_request("the body is not a DeleteOptions object")
    return options.deleting(request.query, body)


def _patched(result: Any) -> Manifest:
    if not isinstance(result, dict) or not isinstance(result.get("metadata"), dict):
        raise status.bad_request("the patch leaves no object with metadata")
    check_metadata(result["metadata"])
    return result
