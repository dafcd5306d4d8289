"""The data plane: prediction servers, what they answer, and the log of every answer.

- `serving`: the room: endpoints, their arms, starting servers, reading the log
- `snapshot`: the endpoint's folder on disk, all a server needs
- `process`: a prediction server as a child process
- `frames`: how predictions are written to the log
- `predictions`: the log read back as tables
- `server`: the prediction server itself, a process of its own that needs neither ledger nor control plane
"""
