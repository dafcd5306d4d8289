"""Moving traffic from one model to the next, and back.

- `rollout`: the room: start, advance, promote, abort, rollback, status
- `evidence`: from the prediction log to paired losses, counts of errors, parity of features
- `arms`: which arms an endpoint has in each state
- `units`: what a difference of two columns looks like (Celsius for Fahrenheit)
- `records`: what the operations take and give

The decisions themselves are pure: `everloop.domain.rollouts` and `everloop.stats.sequential`.
"""
