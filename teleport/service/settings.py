"""Cluster settings that teleport.yaml gives: declared by a source of that name, so nobody changes them elsewhere."""

from typing import Any

from teleport.resources.kinds import AnyResource
from teleport.resources.model import Origin
from teleport.resources.settings import AuthPreference, NetworkingConfig, RecordingConfig
from teleport.service.auth import AuthService
from teleport.service.config import Config

__all__ = ["SOURCE", "declared_settings"]

SOURCE = "teleport.yaml"


async def declared_settings(service: AuthService, config: Config) -> None:
    """Make the settings of this source exactly those of the file."""
    kinds: tuple[type[AnyResource], ...] = (AuthPreference, NetworkingConfig, RecordingConfig)
    desired = [_setting(kind, spec) for kind, spec in zip(kinds, config.settings(), strict=True) if spec]
    await service.apply(SOURCE, desired)


def _setting(kind: type[AnyResource], spec: dict[str, Any]) -> AnyResource:
    body = {"version": kind.versions[0], "metadata": {"name": kind.singleton}, "spec": _spelled(spec)}
    return kind.model_validate(body).with_origin(Origin(source=SOURCE, file=SOURCE))


def _spelled(spec: dict[str, Any]) -> dict[str, Any]:
    """Durations that were read as seconds, as texts again."""
    from teleport.resources.values import duration_text

    return {key: duration_text(value) if isinstance(value, float) else value for key, value in spec.items()}
