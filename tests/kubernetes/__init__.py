"""Kubernetes without Kubernetes: an API server's machinery for objects, and what runs against it or a real one."""
