"""The commands `tctl completion` and `tsh completion`."""

from teleport.core.completion import completion_command

__all__ = ["tctl", "tsh"]

tctl = completion_command("tctl")
tsh = completion_command("tsh")
