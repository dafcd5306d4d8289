"""Environments of steps: packages of their own, beside those of whoever runs the pipeline.

- `declared`: what a step asks for
- `building`: resolving it once, building it once, and finding both again
- `bridge`: Everloop within such an environment
"""
