"""What the plugin exports: of a router, the resource `table`, which has its class in the module `router`."""

from router import Table
from wit_world.exports import Router as World

__all__ = ["Router", "Table"]


class Router(World):
    pass
