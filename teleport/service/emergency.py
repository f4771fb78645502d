"""What teleport.yaml permits of emergency changes; a change of it counts as soon as the file is read again."""

from functools import partial

from teleport.auth.emergency import Emergencies, EmergencyLimits
from teleport.service.config import Config
from teleport.service.site import Site

__all__ = ["permit_emergencies"]


def permit_emergencies(site: Site, emergencies: Emergencies) -> None:
    """From now on, and whenever the configuration changes."""

    def permit(config: Config) -> None:
        emergencies.limits = _limits(config)

    permit(site.config)
    site.prepares.append(lambda config: partial(permit, config))


def _limits(config: Config) -> EmergencyLimits:
    section = config.policies.break_glass if config.policies is not None else None
    if section is None or not section.enabled:
        return EmergencyLimits()
    return EmergencyLimits(enabled=True, longest=section.max_ttl)
