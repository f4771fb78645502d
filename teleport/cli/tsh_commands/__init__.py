"""The commands of `tsh`, one module each."""
