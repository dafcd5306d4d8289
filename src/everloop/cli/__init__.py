"""The door on the command line: parse, call one operation, print.

- `main`: the table of commands, errors and exit codes
- `frame`: what every command has: `--json`, the workspace, output for people
- one module a room with its commands
"""
