"""Feature values at hand for serving.

- `contract`: what an online store is; `sqlite_store`, `redis_store`: the two there are
- `at_hand`: filled as of a moment, read by key; `asking`: questions resolved once; `served`: as a model asks;
  `lists`: named lists
- `pushing`: rows from a stream
"""
