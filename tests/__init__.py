"""Tests, mirroring the package; `builders` makes values, `e2e` runs real programs."""
