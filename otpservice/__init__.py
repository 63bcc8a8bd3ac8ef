"""A self-hosted service that proves that a person holds a phone number."""

__version__ = "0.1.0"
