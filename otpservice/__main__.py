"""``python -m otpservice`` is the ``otpservice`` command."""

from otpservice.cli import main

if __name__ == "__main__":
    main()
