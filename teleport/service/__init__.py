"""Assembles everything: `config` is teleport.yaml, `process` the only place that builds things, and the command
`teleport` starts it.
"""
