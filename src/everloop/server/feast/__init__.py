"""Feast's HTTP protocol for online features, so that a service that asks a Feast server can ask ``everloop up``.

- `wire`: which addresses are Feast's, and the shape of answers and errors
- `messages`: requests and answers as Feast writes them
"""
