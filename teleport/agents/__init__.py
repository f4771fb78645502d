"""Agents: each guards its own targets and judges again. `tunnel` is how they are reached; `ssh` serves hosts.

An agent takes assignments only from proxies, dials only what it registered, and stores nothing but its spool.
"""
