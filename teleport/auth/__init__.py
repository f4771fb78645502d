"""The auth service: holds the certificate authorities, judges every write, and answers the API.

One module for each thing it does; `endpoints` binds them to the routes. Knows no sockets and no protocols.
"""
