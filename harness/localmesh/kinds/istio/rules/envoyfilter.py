"""What Istio's webhook, or Envoy itself, holds against an EnvoyFilter."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from harness.localmesh.kinds.istio.envoyfilter import EnvoyFilter, HeaderMatcher, HttpFault
from harness.localmesh.kinds.istio.rules.common import regex_problems, selector_problems
from harness.localmesh.kinds.istio.values import Problem
from harness.localmesh.kinds.parse import Manifest

_DENOMINATORS = {"HUNDRED": 100, "TEN_THOUSAND": 10_000, "MILLION": 1_000_000}


def problems(spec: EnvoyFilter, manifest: Manifest) -> Iterator[Problem]:
    """What Istio's webhook, or Envoy itself, would hold against `spec`."""
    if not spec.config_patches:
        yield "configPatches", "an EnvoyFilter must have at least one patch"
    yield from selector_problems("workloadSelector.labels", spec.workload_selector.labels)
    for index, patch in enumerate(spec.config_patches):
        for path, why in _fault_problems(patch.patch.value.typed_config):
            yield f"configPatches[{index}].patch.value.typed_config{path}", why


def warnings(spec: EnvoyFilter, manifest: Manifest) -> Iterator[Problem]:
    """The warning Istio gives for every EnvoyFilter."""
    yield (
        "configPatches",
        "an EnvoyFilter depends on how Istio works inside; another version may need another one",
    )


def _fault_problems(fault: HttpFault) -> Iterator[Problem]:
    if fault.abort is None and fault.delay is None:
        yield "", "a fault needs an abort or a delay"
    if (abort := fault.abort) is not None and (abort.http_status is None) == (abort.grpc_status is None):
        yield ".abort", "exactly one of http_status and grpc_status must be given"
    for name in ("abort", "delay"):
        part = getattr(fault, name)
        if part is not None and part.percentage.numerator > _DENOMINATORS[part.percentage.denominator]:
            yield f".{name}.percentage.numerator", "a share of the requests cannot exceed 100 percent"
    for index, header in enumerate(fault.headers):
        yield from _header_problems(f".headers[{index}]", header)


def _header_problems(field: str, header: HeaderMatcher) -> Iterator[Problem]:
    if not header.name:
        yield f"{field}.name", "must not be empty"
    if header.string_match is not None:
        if header.present_match is not None:
            yield field, "only one of string_match and present_match can be given"
        ways = [getattr(header.string_match, way.name) for way in msgspec.structs.fields(header.string_match)]
        for name in ("prefix", "suffix", "contains"):
            if getattr(header.string_match, name) == "":
                yield f"{field}.string_match.{name}", "must not be empty"
        if header.string_match.safe_regex is not None:
            yield from regex_problems(
                f"{field}.string_match.safe_regex", header.string_match.safe_regex.regex
            )
        if sum(way is not None for way in ways) != 1:
            yield (
                f"{field}.string_match",
                "exactly one of exact, prefix, suffix, contains and safe_regex must be given",
            )
