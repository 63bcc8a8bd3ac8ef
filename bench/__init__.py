"""What measures speed: ``python -m bench`` all of it against what it should be (measures/); beside it, each on its own,
``python -m bench.durability`` what a crash of Redis costs, and ``python -m bench.pumping`` what an attacker can spend.
"""
