{#
    Add and remove columns of an incremental model, as dbt does; a column that goes takes the view of masked readers with
    it, which would keep it from going, and which mask_table makes anew in the same transaction.
#}
{% macro postgres__alter_relation_add_remove_columns(relation, add_columns, remove_columns) %}

{% if remove_columns and this.identifier | length <= 55 %}
    {% do run_query(drop_masked_view()) %}
{% endif %}
{{ return(dbt.default__alter_relation_add_remove_columns(relation, add_columns, remove_columns)) }}

{% endmacro %}
