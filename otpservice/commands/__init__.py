"""The commands, each imported when it is called: see ``otpservice.cli``."""
