"""dpe: a Data Provisioning Engine on dbt and PostgreSQL."""

__version__ = "0.1.0"
