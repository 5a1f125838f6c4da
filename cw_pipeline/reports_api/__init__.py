"""The vendor's reporting API: which reports a tenant has, their columns and their rows."""
