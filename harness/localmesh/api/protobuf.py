"""Kubernetes' protobuf, as far as kubectl's own commands send it (`create deployment`, `auth can-i`): read only.

Numbers of fields: the generated.proto files of k8s.io/api and k8s.io/apimachinery. A field that is not in the
table and not empty is refused by its number. The Go types write fields that are not pointers even when they are
empty, so empty values count as absent, but for pointers (`!`).
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from harness.localmesh.kinds.parse import Manifest

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"

_MAGIC = b"k8s\x00"
# number:name:type of each field; `*` a list, `%` a map, `!` a pointer, `>` a message whose fields stand in its holder.
_TABLE = """
ObjectMeta 1:name 2:generateName 3:namespace 5:uid 6:resourceVersion 7:generation:int 8:creationTimestamp:Time
 9:deletionTimestamp:Time 10:deletionGracePeriodSeconds:!int 11:labels:%string 12:annotations:%string
 13:ownerReferences:*OwnerReference 14:finalizers:*string
OwnerReference 1:kind 3:name 4:uid 5:apiVersion 6:controller:!bool 7:blockOwnerDeletion:!bool
LabelSelector 1:matchLabels:%string 2:matchExpressions:*LabelSelectorRequirement
LabelSelectorRequirement 1:key 2:operator 3:values:*string
DeleteOptions 1:gracePeriodSeconds:!int 2:preconditions:Preconditions 3:orphanDependents:!bool 4:propagationPolicy
 5:dryRun:*string
Preconditions 1:uid 2:resourceVersion
ConfigMap 1:metadata:ObjectMeta 2:data:%string 3:binaryData:%bytes 4:immutable:!bool
Secret 1:metadata:ObjectMeta 2:data:%bytes 3:type 4:stringData:%string 5:immutable:!bool
ServiceAccount 1:metadata:ObjectMeta 4:automountServiceAccountToken:!bool
Namespace 1:metadata:ObjectMeta 2:spec:NamespaceSpec 3:status:NamespaceStatus
NamespaceStatus 1:phase
NamespaceSpec 1:finalizers:*string
Service 1:metadata:ObjectMeta 2:spec:ServiceSpec 3:status:ServiceStatus
ServiceStatus 1:loadBalancer:LoadBalancerStatus
LoadBalancerStatus
ServiceSpec 1:ports:*ServicePort 2:selector:%string 3:clusterIP 4:type 5:externalIPs:*string 7:sessionAffinity
 8:loadBalancerIP 10:externalName 11:externalTrafficPolicy 12:healthCheckNodePort:int
 13:publishNotReadyAddresses:bool 17:ipFamilyPolicy 18:clusterIPs:*string 19:ipFamilies:*string
 20:allocateLoadBalancerNodePorts:!bool 21:loadBalancerClass 22:internalTrafficPolicy 23:trafficDistribution
ServicePort 1:name 2:protocol 3:port:int 4:targetPort:IntOrString 5:nodePort:int 6:appProtocol
Pod 1:metadata:ObjectMeta 2:spec:PodSpec
PodSpec 2:containers:*Container 3:restartPolicy 4:terminationGracePeriodSeconds:!int 6:dnsPolicy
 7:nodeSelector:%string 8:serviceAccountName 9:serviceAccount 10:nodeName 11:hostNetwork:bool 16:hostname
 17:subdomain 19:schedulerName 20:initContainers:*Container 21:automountServiceAccountToken:!bool
 24:priorityClassName 25:priority:!int 29:runtimeClassName 30:enableServiceLinks:!bool 31:preemptionPolicy
Container 1:name 2:image 3:command:*string 4:args:*string 5:workingDir 6:ports:*ContainerPort 7:env:*EnvVar
 10:livenessProbe:Probe 11:readinessProbe:Probe 12:lifecycle:Lifecycle 13:terminationMessagePath
 14:imagePullPolicy 16:stdin:bool 17:stdinOnce:bool 18:tty:bool 20:terminationMessagePolicy 22:startupProbe:Probe
ContainerPort 1:name 2:hostPort:int 3:containerPort:int 4:protocol 5:hostIP
EnvVar 1:name 2:value
Probe 1:handler:>ProbeHandler 2:initialDelaySeconds:int 3:timeoutSeconds:int 4:periodSeconds:int
 5:successThreshold:int 6:failureThreshold:int 7:terminationGracePeriodSeconds:!int
ProbeHandler 2:httpGet:HTTPGetAction 3:tcpSocket:TCPSocketAction
HTTPGetAction 1:path 2:port:IntOrString 3:host 4:scheme 5:httpHeaders:*HTTPHeader
HTTPHeader 1:name 2:value
TCPSocketAction 1:port:IntOrString 2:host
Lifecycle 2:preStop:LifecycleHandler
LifecycleHandler 4:sleep:SleepAction
SleepAction 1:seconds:!int
Deployment 1:metadata:ObjectMeta 2:spec:DeploymentSpec 3:status:WorkloadStatus
DeploymentSpec 1:replicas:!int 2:selector:LabelSelector 3:template:PodTemplateSpec 4:strategy:DeploymentStrategy
 5:minReadySeconds:int 6:revisionHistoryLimit:!int 7:paused:bool 9:progressDeadlineSeconds:!int
DeploymentStrategy 1:type 2:rollingUpdate:RollingUpdateDeployment
RollingUpdateDeployment 1:maxUnavailable:!IntOrString 2:maxSurge:!IntOrString
WorkloadStatus 1:observedGeneration:int 2:replicas:int 3:updatedReplicas:int 4:availableReplicas:int
 5:unavailableReplicas:int 7:readyReplicas:int
PodTemplateSpec 1:metadata:ObjectMeta 2:spec:PodSpec
PodDisruptionBudget 1:metadata:ObjectMeta 2:spec:PodDisruptionBudgetSpec 3:status:BudgetStatus
PodDisruptionBudgetSpec 1:minAvailable:!IntOrString 2:selector:!LabelSelector 3:maxUnavailable:!IntOrString
 4:unhealthyPodEvictionPolicy
BudgetStatus 1:observedGeneration:int 3:disruptionsAllowed:int 4:currentHealthy:int 5:desiredHealthy:int
 6:expectedPods:int
Eviction 1:metadata:ObjectMeta 2:deleteOptions:DeleteOptions
Lease 1:metadata:ObjectMeta 2:spec:LeaseSpec
LeaseSpec 1:holderIdentity 2:leaseDurationSeconds:!int 3:acquireTime:Time 4:renewTime:Time 5:leaseTransitions:!int
SelfSubjectAccessReview 1:metadata:ObjectMeta 2:spec:SelfSubjectAccessReviewSpec 3:status:AccessStatus
SelfSubjectAccessReviewSpec 1:resourceAttributes:!ResourceAttributes 2:nonResourceAttributes:!NonResourceAttributes
ResourceAttributes 1:namespace 2:verb 3:group 4:version 5:resource 6:subresource 7:name
NonResourceAttributes 1:path 2:verb
AccessStatus 1:allowed:bool 2:reason 3:evaluationError 4:denied:bool
SelfSubjectRulesReview 1:metadata:ObjectMeta 2:spec:SelfSubjectRulesReviewSpec 3:status:RulesStatus
SelfSubjectRulesReviewSpec 1:namespace
RulesStatus 3:incomplete:bool 4:evaluationError
SelfSubjectReview 1:metadata:ObjectMeta 2:status:SelfReviewStatus
SelfReviewStatus 1:userInfo:UserInfo
UserInfo 1:username 2:uid
TypeMeta 1:apiVersion 2:kind
IntOrString 1:type:!int 2:intVal:!int 3:strVal
Time 1:seconds:!int 2:nanos:!int
"""


def decode(body: bytes) -> Manifest:
    """The object that `body` holds, as JSON would have it.

    Raises:
        ValueError: it is not Kubernetes' protobuf, or holds a kind or a field that is not read here.
    """
    if not body.startswith(_MAGIC):
        raise ValueError("it does not begin as Kubernetes' protobuf does")
    envelope = dict(_fields(body[len(_MAGIC) :]))
    head = _message("TypeMeta", _bytes(envelope.get(1, b"")))
    kind = head.get("kind", "")
    if kind not in _KINDS:
        raise ValueError(f"the local mesh does not read the kind {kind!r} in protobuf; send it as JSON")
    return {**head, **_message(kind, _bytes(envelope.get(2, b"")))}


def _message(name: str, data: bytes) -> Manifest:
    result: Manifest = {}
    known = _MESSAGES[name]
    for number, value in _fields(data):
        if number not in known:
            if value not in (b"", 0):
                raise ValueError(
                    f"the local mesh does not read field {number} of {name} in protobuf; send it as JSON"
                )
            continue
        field, sign, kind = known[number]
        if sign == "*":
            result.setdefault(field, []).append(_value(kind, value))
        elif sign == "%":
            pair = dict(_fields(_bytes(value)))
            result.setdefault(field, {})[_text(pair.get(1, b""))] = _value(kind, pair.get(2, b""))
        elif sign == ">":
            result |= _message(kind, _bytes(value))
        else:
            found = _value(kind, value)
            if sign == "!" or found not in ("", 0, {}, None):
                result[field] = found
    return result


def _value(kind: str, value: int | bytes) -> Any:
    if read := _READ.get(kind):
        return read(value)
    return _message(kind, _bytes(value))


def _base64(value: int | bytes) -> str:
    return base64.b64encode(_bytes(value)).decode()


def _bool(value: int | bytes) -> bool:
    return bool(_int(value))


def _int_or_string(value: int | bytes) -> int | str:
    found = _message("IntOrString", _bytes(value))
    return str(found.get("strVal", "")) if found.get("type") else int(found.get("intVal", 0))


def _time(value: int | bytes) -> str | None:
    found = _message("Time", _bytes(value))
    if not found:
        return None
    try:
        at = datetime.fromtimestamp(found.get("seconds", 0) + found.get("nanos", 0) / 1e9, UTC)
    except (OverflowError, OSError) as error:
        raise ValueError(f"a time that is none: {error}") from None
    return at.isoformat(timespec="microseconds" if found.get("nanos") else "seconds").replace("+00:00", "Z")


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Each field by number: a number, or the bytes of a text or message."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        if tag & 7 == 0:
            value, at = _varint(data, at)
            yield tag >> 3, value
        elif tag & 7 == 2:
            size, at = _varint(data, at)
            if size > len(data) - at:
                raise ValueError("the protobuf ends in the middle of a field")
            yield tag >> 3, data[at : at + size]
            at += size
        else:
            raise ValueError(f"the protobuf has a field of the type {tag & 7}, which no kind here has")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        value |= (data[at] & 0x7F) << shift
        at += 1
        if not data[at - 1] & 0x80:
            return value, at
    raise ValueError("the protobuf ends in the middle of a number")


def _int(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise ValueError("the protobuf has bytes where a number is")
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("the protobuf has a number where bytes are")
    return value


def _text(value: int | bytes) -> str:
    return _bytes(value).decode()


def _parsed(table: str) -> dict[str, dict[int, tuple[str, str, str]]]:
    messages: dict[str, dict[int, tuple[str, str, str]]] = {}
    for line in table.replace("\n ", " ").split("\n"):
        if not line:
            continue
        name, *fields = line.split()
        messages[name] = {}
        for field in fields:
            number, label, kind = (field + ":string").split(":")[:3]
            sign = kind[0] if kind[0] in "*%!>" else ""
            messages[name][int(number)] = (label, sign, kind.removeprefix(sign))
    return messages


_READ: dict[str, Callable[[int | bytes], Any]] = {
    "string": _text,
    "bytes": _base64,
    "bool": _bool,
    "int": _int,
    "Time": _time,
    "IntOrString": _int_or_string,
}
_MESSAGES = _parsed(_TABLE)
_KINDS = {"DeleteOptions"} | {
    name for name, fields in _MESSAGES.items() if any(label == "metadata" for label, _, _ in fields.values())
} - {"PodTemplateSpec"}
