"""The roles that every cluster has without declaring them: access, editor, auditor.

They are part of every snapshot, also offline, unless a declared role of the same name takes their place.
"""

from functools import cache
from typing import Final

from teleport.resources.load import load
from teleport.resources.model import Origin
from teleport.resources.role import Role

__all__ = ["PRESET", "preset_roles"]

PRESET: Final = "preset"
"""The source that they are shown with."""

_PRESETS: Final = """
kind: role
version: v7
metadata:
  name: access
  description: Reach every resource, as the logins that the user's own traits name.
  labels: {teleport.internal/resource-type: preset}
spec:
  options:
    max_session_ttl: 30h
    forward_agent: yes
    port_forwarding: yes
  allow:
    logins: ["{{internal.logins}}"]
    node_labels: {"*": "*"}
    app_labels: {"*": "*"}
    kubernetes_labels: {"*": "*"}
    db_labels: {"*": "*"}
    db_service_labels: {"*": "*"}
    windows_desktop_labels: {"*": "*"}
    windows_desktop_logins: ["{{internal.windows_logins}}"]
    kubernetes_groups: ["{{internal.kubernetes_groups}}"]
    kubernetes_users: ["{{internal.kubernetes_users}}"]
    db_users: ["{{internal.db_users}}"]
    db_names: ["{{internal.db_names}}"]
    db_roles: ["{{internal.db_roles}}"]
    rules:
      - resources: [event]
        verbs: [list, read]
        where: equals(event.user, user.metadata.name)
      - resources: [session]
        verbs: [list, read]
        where: contains(session.participants, user.metadata.name)
---
kind: role
version: v7
metadata:
  name: editor
  description: Change the policy and the cluster's resources, without reaching any of them or reading what was done.
  labels: {teleport.internal/resource-type: preset}
spec:
  options:
    max_session_ttl: 30h
  allow:
    rules:
      - resources:
          - user
          - role
          - token
          - lock
          - node
          - app
          - db
          - kube_cluster
          - windows_desktop
          - cluster_name
          - cluster_auth_preference
          - cluster_networking_config
          - session_recording_config
          - policy
          - access_test
          - access_invariant
          - access_list
          - access_request
          - auth_connector
          - github
          - oidc
          - saml
          - bot
          - instance
          - cert_authority
          - trusted_cluster
          - remote_cluster
        verbs: [list, create, read, update, delete, use]
---
kind: role
version: v7
metadata:
  name: auditor
  description: Read the audit log, the recordings and which sessions are live, nothing else.
  labels: {teleport.internal/resource-type: preset}
spec:
  options:
    max_session_ttl: 30h
  allow:
    rules:
      - resources: [event]
        verbs: [list, read]
      - resources: [session]
        verbs: [list, read]
      - resources: [session_tracker]
        verbs: [list, read]
"""


@cache
def preset_roles() -> tuple[Role, ...]:
    """The preset roles, each with the origin `preset`."""
    loaded = load(_PRESETS.encode(), file="preset", source="preset")
    assert not loaded.problems, loaded.problems
    roles = [resource for resource in loaded.resources if isinstance(resource, Role)]
    return tuple(
        role.with_origin(Origin(source=PRESET, file=f"preset/{role.name}"), uid=f"preset-{role.name}") for role in roles
    )
