{#
    Add and remove columns of an incremental model, as dbt does. What reads a removed column is dropped with it, as with a table that dbt
    replaces: the masked readers' view, which mask_table recreates in the same transaction, and what readers built on it.
#}
{% macro postgres__alter_relation_add_remove_columns(relation, add_columns, remove_columns) %}

{% for column in remove_columns or [] %}
    {% do dbt.run_query('alter table ' ~ relation ~ ' drop column ' ~ column.quoted ~ ' cascade') %}
{% endfor %}
{% if add_columns %}
    {{ return(dbt.default__alter_relation_add_remove_columns(relation, add_columns, [])) }}
{% endif %}

{% endmacro %}
