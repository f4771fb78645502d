"""Policy over time: what each commit of a branch put in force, and because of which one something is so.

`steps` lists what every commit changed, `walk` replays them into the policy that held after each; `spans` asks one
question of all of them, `objects` follows one object, `rule` finds the text of a rule, `commits` tells who wrote and
signed. `answers` puts it together for command lines and for the API. No database: all of it is read from git.
"""
