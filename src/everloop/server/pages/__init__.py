"""What people see: one module a room of the navigation. A page calls operations and renders a template; it holds no rules.

- `rendering`: templates, assets, the frame of every page
- `signing`: /login and /logout
"""

from starlette.routing import BaseRoute

from everloop.server.pages import audit, signing
from everloop.server.pages.rendering import Pages


def page_routes(pages: Pages) -> list[BaseRoute]:
    """The addresses of all pages."""
    return [*audit.routes(pages), *signing.routes(pages)]
