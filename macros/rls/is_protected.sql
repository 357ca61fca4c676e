{#
    Return whether the table already has exactly the policies and privileges of the declaration, like an incremental model from its
    second run on. Setting them again would lock out readers (PostgreSQL documentation, "ALTER TABLE": ACCESS EXCLUSIVE).
#}
{% macro is_protected(relation, declaration, readers, masked, grants) %}

{% set found = dbt.run_query(
    "select dpe.is_protected(" ~ dpe.regclass_of(relation) ~ ", '" ~ dpe.describe_protection(declaration, readers, masked, grants) | replace("'", "''") ~ "') as is_protected"
) %}
{{ return(found.rows[0]['is_protected']) }}

{% endmacro %}
