"""An operator in Kubernetes, between its watch and the auth service: feeds manifests, and tells what became of them.

Judges nothing: the auth service loads, judges and applies. Knows the API of Kubernetes for statuses and events alone;
watching is done by kopf, in `operator/handlers.py`.
"""
