"""The aggregate half's model and rules: pure values and functions. Nothing here reads a clock, a file or a warehouse."""
