"""The domain: life cycle, codes and digests, phone numbers, limits. No I/O, and none of the other packages."""
