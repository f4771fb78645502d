"""The kinds of Kubernetes manifests that declare resources, ours and the upstream operator's, and what they say.

A manifest names its resource by its own name; where it says which version of the format it is written in differs:
some say it by their kind (`TeleportRoleV7`), some by their API version (`TeleportRole` v5), the others under `spec`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from pydantic import ValidationError

from teleport.resources.kinds import KINDS, AnyResource
from teleport.resources.secret_ref import SecretRef, brought_secret, secret_fields
from teleport.resources.wishes import WISHES

__all__ = ["CUSTOM_KINDS", "GROUP", "CustomKind", "custom_kind", "says", "secrets_of", "to_document"]

GROUP: Final = "resources.teleport.dev"
"""The API group, which is the upstream's."""
DESCRIPTION: Final = "description"
"""The annotation that becomes the resource's description, as upstream."""
EXPIRES: Final = "teleport.dev/expires"
"""The annotation that says when the resource ceases to exist; ours."""
ORIGIN: Final = "teleport.dev/origin"
"""The label that says where a resource comes from, as upstream; ownership does not go by it."""
_TRUE: Final = ("1", "t", "T", "true", "TRUE", "True")


@dataclass(frozen=True)
class CustomKind:
    """One kind of manifest."""

    kind: str
    resource: str
    """The kind of resource that it declares."""
    versions: Mapping[str, str]
    """By API version, the version of the format; empty where `spec.version` says it. The first one is stored."""
    short: str
    suffix: str = ""
    """What the kind and the plural end in where a kind has several."""
    sub_kind: str = ""

    @cached_property
    def cls(self) -> type[AnyResource]:
        return KINDS[self.resource]

    @property
    def plural(self) -> str:
        bare = self.kind.removesuffix(self.suffix).lower()
        return f"{bare}{'' if bare.endswith('s') else 's'}{self.suffix.lower()}"

    @property
    def stored(self) -> str:
        """The API version that Kubernetes keeps."""
        return next(iter(self.versions))

    @property
    def says_version(self) -> bool:
        """Whether the version of the format is a field of the stored spec."""
        return "" in self.versions.values()


CUSTOM_KINDS: Final[tuple[CustomKind, ...]] = tuple(
    one
    for one in (
        CustomKind("TeleportRole", "role", {"v1": "", "v5": "v5", "v6": "v6"}, "trole"),
        CustomKind("TeleportRoleV6", "role", {"v1": "v6"}, "trolev6", "V6"),
        CustomKind("TeleportRoleV7", "role", {"v1": "v7"}, "trolev7", "V7"),
        CustomKind("TeleportRoleV8", "role", {"v1": "v8"}, "trolev8", "V8"),
        CustomKind("TeleportUser", "user", {"v2": "v2"}, "tuser"),
        CustomKind("TeleportProvisionToken", "token", {"v2": "v2"}, "ttoken"),
        CustomKind("TeleportTrustedClusterV2", "trusted_cluster", {"v1": "v2"}, "ttrust", "V2"),
        CustomKind("TeleportLockV2", "lock", {"v1": "v2"}, "tlock", "V2"),
        CustomKind("TeleportOpenSSHServerV2", "node", {"v1": "v2"}, "tsshserver", "V2", sub_kind="openssh"),
        CustomKind("TeleportAccessTest", "access_test", {"v1": "v1"}, "taccesstest"),
        CustomKind("TeleportAccessInvariant", "access_invariant", {"v1": "v1"}, "tinvariant"),
        CustomKind("TeleportAuthPreference", "cluster_auth_preference", {"v1": "v2"}, "tcap"),
        CustomKind("TeleportNetworkingConfig", "cluster_networking_config", {"v1": "v2"}, "tcnc"),
        CustomKind("TeleportRecordingConfig", "session_recording_config", {"v1": "v2"}, "tsrc"),
    )
    if one.resource in KINDS
)
"""Every kind of manifest whose kind of resource this program knows."""

_BY_KIND: Final = {one.kind: one for one in CUSTOM_KINDS}


def custom_kind(kind: str) -> CustomKind | None:
    """A kind of manifest by its name."""
    return _BY_KIND.get(kind)


def to_document(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The resource that a manifest of a known kind declares, as one would write it in a folder; not judged yet.

    Labels are those of the manifest, where it comes from, and what it asks of the reconciler by annotations, as
    upstream. What is no mapping where one belongs is passed on, for the loader to refuse.
    """
    kind = _BY_KIND[manifest["kind"]]
    api_version = str(manifest.get("apiVersion", "")).rpartition("/")[2]
    spec, version = manifest.get("spec"), kind.versions.get(api_version, "")
    if kind.says_version and isinstance(spec, Mapping):
        version = spec.get("version", version)
        spec = {key: value for key, value in spec.items() if key != "version"}
    body: dict[str, Any] = {"kind": kind.resource, **({"version": version} if version else {})}
    if kind.sub_kind:
        body["sub_kind"] = kind.sub_kind
    metadata = manifest.get("metadata") or {}
    return {**body, "metadata": _metadata(metadata), "spec": _referring(kind, spec, str(metadata.get("namespace", "")))}


def secrets_of(manifest: Mapping[str, Any]) -> tuple[SecretRef, ...]:
    """The Secrets that a manifest of a known kind refers to, as far as it names them rightly."""
    kind, spec = _BY_KIND[manifest["kind"]], manifest.get("spec")
    namespace = str((manifest.get("metadata") or {}).get("namespace", ""))
    found = []
    if not isinstance(spec, Mapping):
        return ()
    for name in secret_fields(kind.cls):
        try:
            found.append(SecretRef.model_validate(brought_secret(spec.get(name), namespace)))
        except ValidationError:
            continue
    return tuple(one for one in found if one.namespace and one.namespace == namespace)


def _referring(kind: CustomKind, spec: Any, namespace: str) -> Any:
    """A spec whose references to Secrets say in which namespace these are: that of the manifest, always."""
    fields = secret_fields(kind.cls) if isinstance(spec, Mapping) else ()
    changed = {name: brought_secret(spec[name], namespace) for name in fields if name in spec}
    return {**spec, **changed} if changed else spec


def says(manifest: Mapping[str, Any], annotation: str) -> bool:
    """Whether an annotation is true, in the spellings that Go takes; whatever is none of them counts for false."""
    return _annotations(manifest.get("metadata") or {}).get(annotation) in _TRUE


def _annotations(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    annotations = metadata.get("annotations")
    return annotations if isinstance(annotations, Mapping) else {}


def _metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    annotations, labels = _annotations(metadata), metadata.get("labels")
    asked = {wish: "true" for wish in sorted(WISHES) if annotations.get(wish) in _TRUE}
    if labels is None or isinstance(labels, Mapping):
        labels = {**(labels or {}), **asked, ORIGIN: "kubernetes"}
    found = {
        "name": metadata.get("name"),
        "description": annotations.get(DESCRIPTION),
        "labels": labels,
        "expires": annotations.get(EXPIRES),
    }
    return {key: value for key, value in found.items() if value}
