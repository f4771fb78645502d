"""Hostile input by the thousand: what must hold whatever comes, tried with counted numbers of inputs.

`targets` are functions of bytes; `ssh` and `api` speak to real servers. `make test` tries each a little;
`make fuzz` (`python -m tests.fuzz`) spends the whole budget and prints what it spent.
"""
