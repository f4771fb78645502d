"""The commands of `tctl`, one module each."""
