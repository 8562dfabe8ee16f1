"""How many messages a gRPC call had, read for the metrics: the one thing of Istio's an access logger cannot read.

Envoy's filter `grpc_stats` keeps both counts as one text ("2,3") in the filter state. A stats logger takes a number,
and neither its operators (1.40: FILTER_STATE as PLAIN or TYPED gives both counts at once, FIELD nothing) nor CEL
(which sees bytes and has no way to cut or convert them) get one out of it. So a few lines of Lua do, only for requests
whose content type is gRPC's, and put them where `%METADATA(DYNAMIC:...)%` finds them.

Differences from Istio: messages are counted when the call ends, where Istio also reports every five seconds, and not
at all when a call ends before anything of its answer.
"""

from __future__ import annotations

from harness.localmesh.xds.model import Resource
from harness.localmesh.xds.proto import extension, typed

NAME = "harness.grpc_messages"
"""The name of the filter, and of the metadata it writes."""

_SCRIPT = f"""
local function note(handle)
  local counts = handle:streamInfo():filterState():get("envoy.filters.http.grpc_stats")
  if counts then
    local requests, responses = string.match(counts, "(%d+),(%d+)")
    local metadata = handle:streamInfo():dynamicMetadata()
    metadata:set("{NAME}", "request_messages", tonumber(requests))
    metadata:set("{NAME}", "response_messages", tonumber(responses))
  end
end
function envoy_on_response(handle)
  note(handle)
  for _ in handle:bodyChunks() do note(handle) end -- at once, as the next may never come
  note(handle)
end
"""


def message_filter() -> Resource:
    """The HTTP filter; it must stand before `grpc_stats`, so that answers pass it after they were counted."""
    script = extension(
        "envoy.filters.http.lua",
        "envoy.extensions.filters.http.lua.v3.Lua",
        default_source_code={"inline_string": _SCRIPT},
    )
    return extension(
        NAME,
        "envoy.extensions.common.matching.v3.ExtensionWithMatcher",
        extension_config=script,
        xds_matcher={"matcher_list": {"matchers": [{"predicate": _not_grpc(), "on_match": _skip()}]}},
    )


def messages_counted() -> Resource:
    """The access log filter that passes calls whose messages were counted."""
    matcher = {
        "filter": NAME,
        "path": [{"key": "request_messages"}],
        "value": {"present_match": True},
    }
    return {"metadata_filter": {"matcher": matcher, "match_if_key_not_found": False}}


def _not_grpc() -> Resource:
    kind = "envoy.type.matcher.v3.HttpRequestHeaderMatchInput"
    single = {
        "input": {"name": "content-type", "typed_config": typed(kind, header_name="content-type")},
        "value_match": {"prefix": "application/grpc"},
    }
    return {"not_matcher": {"single_predicate": single}}


def _skip() -> Resource:
    kind = "envoy.extensions.filters.common.matcher.action.v3.SkipFilter"
    return {"action": {"name": "skip", "typed_config": typed(kind)}}
