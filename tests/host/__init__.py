"""A Dagster project of somebody else: ten lines of Python, and a component in YAML."""
