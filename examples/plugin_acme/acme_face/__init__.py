"""Acme's networks. Listing them reads ``xzoo.json`` and never imports this package."""
