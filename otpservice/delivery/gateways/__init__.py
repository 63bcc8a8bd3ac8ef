"""Outside providers: one module each, all behind ``base.Gateway``."""
