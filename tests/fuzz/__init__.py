"""Coverage-guided fuzzing of the compiled reader: `python -m tests.fuzz --seconds 60`."""
