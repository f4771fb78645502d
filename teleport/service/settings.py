"""What teleport.yaml says of the cluster, declared by a source of that name, so that nobody changes it elsewhere."""

from typing import Any, Final

from teleport.resources.kinds import AnyResource
from teleport.resources.model import Origin
from teleport.resources.settings import AuthPreference, NetworkingConfig, RecordingConfig
from teleport.service.auth import AuthService
from teleport.service.config import Config
from teleport.service.health import Health
from teleport.service.review import CONFIGURATION
from teleport.service.tokens import guessable, static_tokens

__all__ = ["SOURCE", "declare_settings"]

SOURCE: Final = CONFIGURATION


async def declare_settings(service: AuthService, config: Config, health: Health) -> None:
    """Make the settings and static tokens of this source exactly those of the file. Raises what is wrong with them."""
    kinds: tuple[type[AnyResource], ...] = (AuthPreference, NetworkingConfig, RecordingConfig)
    desired = [_setting(kind, spec) for kind, spec in zip(kinds, config.settings(), strict=True) if spec]
    tokens = static_tokens(config.auth_service.tokens)
    await service.apply(SOURCE, [*desired, *(_owned(token) for token in tokens)])
    count = guessable(tokens)
    health.warn("tokens", f"{count} of the static tokens in {SOURCE} can be guessed" if count else "")


def _setting(kind: type[AnyResource], spec: dict[str, Any]) -> AnyResource:
    body = {"version": kind.versions[0], "metadata": {"name": kind.singleton}, "spec": spec}
    return _owned(kind.model_validate(body))


def _owned(resource: AnyResource) -> AnyResource:
    return resource.with_origin(Origin(source=SOURCE, file=SOURCE))
