"""Adapters of the Warehouse port, one file per engine. Import them by their path; each imports its own driver."""
