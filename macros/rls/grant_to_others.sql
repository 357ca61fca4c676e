{#
    The statements that grant a relation to the roles that its `grants` name. They see rows as far as they are readers.
#}
{% macro grant_to_others(relation, grants) %}

{% for statement in get_dcl_statement_list(relation, grants, get_grant_sql) %}
{{ statement }};
{% endfor %}

{% endmacro %}
