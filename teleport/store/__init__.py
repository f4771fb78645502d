"""What remembers: keys to values under one revision counter, with a gapless watch.

`base` is the contract that every back end fulfils and the conformance suite checks; `sqlite` the default back
end; `sealed` encrypts what must not be read from a stolen file; `replica` follows a store as immutable tables.
"""
