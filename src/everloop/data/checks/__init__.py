"""Checks of tables, compiled to as few scans as possible.

- `checking`: a table before its checks; `compiling`: checks as SQL; `custom`: checks in Python;
  `cleaning`: what counts as missing
- `quarantining`: rows that are turned away
- `contracts`: verdicts on versions, and checks that every add must pass; `suites`: finding those a user declared
- `inferring`: checks proposed from a table
"""
