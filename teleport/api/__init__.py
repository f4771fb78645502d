"""How services, command lines and people's programs talk to the auth service.

`routes` is the one table of everything that can be asked, with models and the permission each needs; `server`
serves it and `client` calls it; `dialback` is what agents and proxies say to each other. No implementations.
"""
