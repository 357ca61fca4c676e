"""What dbt knows about the project: sources, models, rules and what a selection names."""
