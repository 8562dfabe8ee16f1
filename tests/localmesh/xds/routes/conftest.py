"""What a VirtualService of reviews becomes: its HTTP routes, as a sidecar or a gateway has them."""

from __future__ import annotations

import pytest
import yaml
from onlooker import port, view

from harness.localmesh.xds.routes import Caller, rule_routes
from harness.localmesh.xds.virtualservices import MESH


@pytest.fixture
def routes(build):
    """The routes of a VirtualService of `reviews` with the rules given, for a call of port 9080 by default."""

    def made(*rules, policy=None, called=9080, gateways=(), tls=False, **settings):
        spec = {"hosts": ["reviews"], "http": [*rules], "gateways": [*gateways, MESH]}
        texts = [{"kind": "VirtualService", "metadata": {"name": "r"}, "spec": spec}]
        if policy:
            texts.append({"kind": "DestinationRule", "metadata": {"name": "r"}, "spec": policy})
        services = (
            build.service("reviews", ports=(port(9080),)),
            build.service("ratings", ports=(port(80),)),
        )
        seen = view(build, services, yaml.safe_dump_all(texts), **settings)
        (rule,) = seen.virtual_services("default/edge" if gateways else MESH)
        names = frozenset({"default/edge" if gateways else MESH})
        return rule_routes(rule, Caller(seen, names, called, tls))

    return made


@pytest.fixture
def one(routes):
    """The one route of a rule."""

    def made(rule, **settings):
        (route,) = routes(rule, **settings)
        return route

    return made
