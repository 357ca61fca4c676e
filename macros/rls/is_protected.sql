{#
    Return whether the table has the policies and privileges of the declaration already, and no others, as an incremental model has
    from its second run on. Saying them again would lock out who reads it (PostgreSQL documentation, "ALTER TABLE": ACCESS EXCLUSIVE).
#}
{% macro is_protected(relation, declaration, masked, grants) %}

{% set found = run_query(
    "select dpe.is_protected(" ~ regclass_of(relation) ~ ", '" ~ describe_protection(declaration, masked, grants) | replace("'", "''") ~ "') as is_protected"
) %}
{{ return(found.rows[0]['is_protected']) }}

{% endmacro %}
