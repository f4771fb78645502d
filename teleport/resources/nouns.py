"""The words of admin rules: the nouns (kinds of resource) and verbs that the format knows, and spelling help."""

import difflib
from collections.abc import Iterable
from typing import Final

__all__ = ["BREAK_GLASS", "NOUNS", "VERBS", "nearest"]

BREAK_GLASS: Final = "break_glass"
"""The verb of emergency changes: a rule that allows must name it, for `*` was written without thinking of it."""

VERBS: Final = (
    "list", "create", "read", "readnosecrets", "update", "delete", "rotate", "use", "enroll", "create_enroll_token",
    BREAK_GLASS, "*",
)  # fmt: skip

NOUNS: Final = tuple(
    """
    * access_graph access_graph_settings access_invariant access_list access_list_member access_monitoring_rule
    access_plugin_data access_request access_test app app_server app_session audit_query
    auth_connector auth_server auto_update_agent_report auto_update_agent_rollout auto_update_config
    auto_update_version autoupdate_agent_report autoupdate_agent_rollout autoupdate_bot_instance_report
    autoupdate_config autoupdate_version billing bot bot_instance cert_authority cluster_alert
    cluster_audit_config cluster_auth_preference cluster_config cluster_maintenance_config cluster_name
    cluster_networking_config cluster_state connection_diagnostic connectors contact crown_jewel
    database_certificate database_client_certificate database_object database_object_import_rule
    database_service db db_server device device_enroll_token device_event device_trust discovery_config download
    dynamic_windows_desktop event external_audit_storage external_audit_storage_cluster
    external_audit_storage_draft git_server github github_request global_notification headless_authentication
    health_check_config host_cert identity_center identity_center_account identity_center_account_assignment
    identity_center_permission_set identity_center_principal_assignment installer instance integration key_pair
    kube_cluster kube_server kube_service kubernetes_resource license lock login_rule mfa_device namespace
    network_restrictions node notification oidc oidc_request okta_assignment okta_import_rule password plugin
    plugin_data policy provision_token provisioning_principal_state proxy recording_encryption relay_server
    remote_cluster reverse_tunnel role saml saml_idp_service_provider saml_idp_session saml_request scoped_role
    scoped_role_assignment scoped_token security_report security_report_state semaphore server server_info
    session session_recording_config session_tracker ssh_session static_host_user static_tokens token
    trusted_cluster trusted_device tunnel_connection ui_config unified_resource usage user user_group
    user_last_seen_notification user_login_state user_notification_state user_preferences user_task user_token
    user_token_secrets vnet_config web_session web_token windows_desktop windows_desktop_service
    workload_identity workload_identity_x509_issuer_override workload_identity_x509_revocation
    """.split()  # noqa: SIM905
)

_LONGEST: Final = 64
"""Characters beyond which a word is no misspelling; comparing takes the square of the length."""


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that was probably meant, or nothing. Case and hyphens are the commonest slips."""
    if len(word) > _LONGEST:
        return ""
    folded = {_folded(item): item for item in known if item != "*"}
    found = difflib.get_close_matches(_folded(word), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else ""


def _folded(word: str) -> str:
    return word.lower().replace("-", "_")
