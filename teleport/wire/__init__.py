"""Bytes to messages, pure: no sockets, no time, no logging. Feed what came; take what it completed."""
