"""The old name of `dagster`, for one release."""
