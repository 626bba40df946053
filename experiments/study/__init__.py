"""What the studies share: settings, each run over seeds, and what they gave.

A study declares its settings (`spec.Study`); `command.main` is its command. Runs that
are finished are read, not repeated, and one that was interrupted goes on.
"""
