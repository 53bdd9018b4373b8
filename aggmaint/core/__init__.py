"""The job half's rules: pure values and functions. Nothing here reads a clock, draws an id, logs, sleeps or does I/O."""
