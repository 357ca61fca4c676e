"""What dbt knows of the project: sources, models, rules and what a selection names."""
