"""What inferwatch is held against, each a process of its own: ``python -m tests.speed.contenders.NAME JSON``."""
