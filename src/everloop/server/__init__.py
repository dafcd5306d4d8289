"""The door over HTTP: operations, bytes, pages. It calls rooms and serves what they answer; it holds no rules of its own.

- `app`: the ASGI application
- `api`: every operation of every room as an endpoint
- `openapi`: their description
- `objects`: bytes in and out
- `access`: who asks, and from where
- `pages`: what people see
"""
