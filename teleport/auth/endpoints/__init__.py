"""Binds the auth service's parts to the routes: one module an audience, one method a route.

The permission of a route was checked before its method is called; what depends on the object asked about is
checked here. Every act leaves its audit event: what changed, who did it, and also what was refused.
"""

from teleport.api import models as m
from teleport.api.server import Caller, Handlers
from teleport.auth.endpoints.accounts import Accounts
from teleport.auth.endpoints.anybody import ForAnybody
from teleport.auth.endpoints.approving import Approving
from teleport.auth.endpoints.auditing import Auditing
from teleport.auth.endpoints.cluster import ClusterState
from teleport.auth.endpoints.clusters import OtherClusters
from teleport.auth.endpoints.emergencies import EmergencyAccess
from teleport.auth.endpoints.feeding import ForOperators
from teleport.auth.endpoints.history import TellingHistory
from teleport.auth.endpoints.live import LiveAccess
from teleport.auth.endpoints.openssh import ForPlainHosts
from teleport.auth.endpoints.parts import Parts, Surroundings
from teleport.auth.endpoints.recordings import RecordingAccess
from teleport.auth.endpoints.resources import ResourceAccess
from teleport.auth.endpoints.services import ForServices
from teleport.auth.endpoints.sources import PolicySources
from teleport.auth.endpoints.users import ForUsers

__all__ = ["Auth", "Surroundings"]

_PREFIX = "on_"


class Auth(Parts):
    """All parts of the auth service; `handlers()` gives one handler a route."""

    def handlers(self) -> Handlers:
        audiences = (
            ForAnybody(self), ForUsers(self), ResourceAccess(self), Accounts(self), ClusterState(self), Auditing(self),
            RecordingAccess(self), LiveAccess(self), ForServices(self), PolicySources(self), Approving(self),
            ForOperators(self), EmergencyAccess(self), TellingHistory(self), OtherClusters(self), ForPlainHosts(self),
        )  # fmt: skip
        return {
            name.removeprefix(_PREFIX): getattr(audience, name)
            for audience in audiences
            for name in dir(audience)
            if name.startswith(_PREFIX)
        }

    async def on_join(self, caller: Caller, request: m.JoinRequest) -> m.HostCertificates:
        """The route `join`, for the services of this very process."""
        return await ForAnybody(self).on_join(caller, request)
