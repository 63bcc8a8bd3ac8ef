"""From settings to parts: what the commands have in common, in a module for each kind of process.

None imports what only another one needs: half of the time from a command to its first answer is spent on imports.
"""
