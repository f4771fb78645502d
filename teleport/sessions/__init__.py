"""Live sessions: `gate` is the only door, watches over whoever went through it, and ends what lost its right.

Knows no protocol: what it yields can be ended, and whoever serves it learns why.
"""
