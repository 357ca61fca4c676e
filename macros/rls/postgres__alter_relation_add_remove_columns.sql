{#
    Add and remove columns of an incremental model, as dbt does. What reads a column that goes, goes with it, as what reads a table that
    dbt replaces: the view of masked readers, which mask_table makes anew in the same transaction, and what readers made.
#}
{% macro postgres__alter_relation_add_remove_columns(relation, add_columns, remove_columns) %}

{% for column in remove_columns or [] %}
    {% do run_query('alter table ' ~ relation ~ ' drop column ' ~ column.quoted ~ ' cascade') %}
{% endfor %}
{% if add_columns %}
    {{ return(dbt.default__alter_relation_add_remove_columns(relation, add_columns, [])) }}
{% endif %}

{% endmacro %}
