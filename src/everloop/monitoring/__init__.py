"""How a model is doing once it answers: what came in, what went out, what turned out to be true.

- `monitoring`: the room: actuals, evaluation of day windows, health, alerts
- `actuals`: the truth that came later: reading, matching, one final label a prediction
- `references`: what a model looked like before it was served, as additive state
- `windows`: one day of one model: additive state and the values made from it
- `judging`: from values to readings, by the rule of effect, significance and persistence
- `reports`: what an alert says
- `records`: what the operations take and give
"""
