"""Resources as Envoy reads them."""

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from harness.localmesh.xds.encoding import Encoder
from harness.localmesh.xds.proto import typed

ROUTES = "envoy.config.route.v3.RouteConfiguration"


def test_a_message_reads_back_as_it_was_written():
    """Durations, wrapped numbers and packed messages too."""
    options = typed(
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        explicit_http_config={"http_protocol_options": {}},
    )
    written = typed(
        "envoy.config.cluster.v3.Cluster",
        name="c",
        connect_timeout="1.5s",
        per_connection_buffer_limit_bytes=7,
        typed_extension_protocol_options={"x": options},
    )
    read = Cluster()
    assert Encoder().encoded(written).message.Unpack(read)
    assert (read.name, read.connect_timeout.ToMilliseconds()) == ("c", 1500)
    assert read.per_connection_buffer_limit_bytes.value == 7
    assert read.typed_extension_protocol_options["x"].type_url == options["@type"]


def test_the_virtual_hosts_of_a_table_keep_their_order_and_the_rest_of_it():
    """They are encoded one by one, because most of them stay what they are when one changes."""
    hosts = [{"name": name, "domains": [name]} for name in ("b", "a", "c")]
    read = RouteConfiguration()
    made = Encoder().encoded(typed(ROUTES, name="r", virtual_hosts=hosts, validate_clusters=False))
    assert made.message.Unpack(read)
    assert [host.name for host in read.virtual_hosts] == ["b", "a", "c"]
    assert read.name == "r"
    assert read.HasField("validate_clusters")


def test_the_same_content_has_the_same_version_and_another_one_another():
    """Also when it is another object."""
    encoder = Encoder()
    one, same, other = (
        encoder.encoded(typed(ROUTES, name="r", virtual_hosts=[{"name": name, "domains": [name]}]))
        for name in ("a", "a", "b")
    )
    assert one.version == same.version
    assert one.version != other.version


def test_an_unknown_field_is_an_error_that_names_it():
    """Nothing is left out in silence."""
    with pytest.raises(ValueError, match="nonsense"):
        Encoder().encoded(typed("envoy.config.cluster.v3.Cluster", nonsense=1))


def test_the_scope_of_the_metrics_is_among_what_envoy_reads():
    """The package's description of the stats access logger is older than Envoy's."""
    kind = "envoy.extensions.access_loggers.stats.v3.Config"
    packed = Encoder().encoded(typed(kind, stats_scope={"prefix": "istio"})).message
    assert packed.value == b"\x32\x07\x2a\x05istio"
