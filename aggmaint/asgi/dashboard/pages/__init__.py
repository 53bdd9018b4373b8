"""Each page as a model: a pure function from what was read of the engine to what a template shows."""
