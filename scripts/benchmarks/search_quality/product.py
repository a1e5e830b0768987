"""The product's methods by name, each with the signature of a peer."""

from peers import Method

PRODUCT: dict[str, Method] = {}
