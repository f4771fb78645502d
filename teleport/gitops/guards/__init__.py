"""Guards: what a change must not do at once, however right it looks. Pure; one module a guard or a family of them.

| guard | refuses |
|---|---|
| `administration` | that nobody could administer the cluster any more |
| `people`, `pairs` | that more than so many people, or so much of all access, is lost |
| `emptied` | that a source declares nothing any more, or nothing of a whole kind |
| `beneficiary` | that who signed or approved a change gains by it |
| `weakened` | that a test or an invariant is weakened or deleted |

They protect from mistakes and from one person alone, so a second person overrides them (`overriding`); how that person
says so is not known here.
"""
