"""What the policy means: patterns, templates, expressions, decisions, and who reaches what.

Pure: no input, no output, no time of its own. `snapshot` compiles every rule at one revision; `decide` answers
one question; `reach` answers it for a whole fleet at once, `holdings` for everybody; `impact` says what changes for
whom when one snapshot takes another's place; `rules` judges administrative acts; `judge` says whether a proposed
policy may be installed at all. `expectations` are what tests say of it, and `prove` says of an invariant whether it
holds for everybody there is and could be, with `views` of roles whose holders nobody knows, hosts that are `imagined`,
`choices` of labels, and expressions that are known in `partial`. `trust` says what a role map means to somebody from
another cluster, `clusters` which others somebody of this one reaches.
"""
