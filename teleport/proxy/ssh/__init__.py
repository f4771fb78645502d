"""The SSH server of a proxy, for `ssh -J PROXY LOGIN@HOST`: it lets users in and leads to hosts, nothing else.

`server` serves one connection; `way` is one channel on it, as the relay knows its clients. What passes through a
channel is the SSH of the client and the host, which the proxy has no key to.
"""
