"""Sockets: looking at first bytes, TLS contexts, and joining two connections. Knows no policy and no protocol.

`alpn` names what our own TLS connections carry; `asyncssh_seams` is every touch of asyncssh's internals, for the SSH
servers of agents and proxies.
"""
