{#
    Change the type of a column: dbt does so to widen texts, and for `on_schema_change: sync_all_columns`. Unlike dbt's own way, this keeps
    the policies that compare the column, its place among the columns, its indexes and its comment (dpe_cli/server/sql/columns.sql).
#}
{% macro postgres__alter_column_type(relation, column_name, new_column_type) %}

{% call statement('alter_column_type') %}
    select dpe.change_column_type({{ dpe.regclass_of(relation) }}, {{ dpe.literal_of(column_name) }}, {{ dpe.literal_of(new_column_type) }});
{% endcall %}

{% endmacro %}
