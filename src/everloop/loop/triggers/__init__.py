"""What starts pipelines by itself: times, events, files, people.

- `room`: the part of the loop room that is about triggers: applying, ticking, carrying out
- `declaring`: what is declared, paused, withdrawn
- `deciding`: which causes have come, each a firing; firing by hand
- `causes`: what an event of the ledger sets off
- `claiming`: whose turn it is, who carries a firing out, what came of it
- `backfilling`: firings for a range of past times
- `arriving`: files, and whether they have stopped growing
- `scheduler`: looks again and again, and gives each firing a process of its own
- `running`: one firing, from the pipeline's start to its report
- `records`: what the operations take and give

The rules are pure: `everloop.domain.triggers`, `everloop.domain.firings`.
"""
