"""What the tests share: clocks that stand still, tasks that wait for a gate, and operations for property tests."""
