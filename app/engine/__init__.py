"""The generation engine: one model in a process of its own, behind a bounded queue."""
