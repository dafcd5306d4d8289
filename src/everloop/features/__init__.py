"""Features: declared once, read as of a moment for training, kept at hand for serving, compared between the two.

- `features`: the room; `definitions`: declared views on their way into the ledger; `plans`: what applying would do;
  `records`: what is kept beside declarations; `statistics`: what values are like; `places`, `types`: errors that name the line
- `history`: as they were known at a moment; `on_demand`: computed at the request; `parity`: logged features against history
- `online`: at hand for serving; `increments`: filling from added files alone
- `apart`: user code in a process of its own, where it must not run in this one
"""
