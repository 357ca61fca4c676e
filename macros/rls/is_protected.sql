{#
    Return whether the table has the policies of the declaration already, as an incremental model has from its second run
    on. Saying them again would lock out who reads it (PostgreSQL documentation, "ALTER TABLE": ACCESS EXCLUSIVE).
#}
{% macro is_protected(relation, declaration, masked) %}

{% set found = run_query(
    "select 1 as one from pg_policy inner join pg_class on pg_class.oid = polrelid"
    ~ " where polrelid = '" ~ relation ~ "'::regclass and polname = 'dpe_system' and relrowsecurity and relforcerowsecurity"
    ~ " and obj_description(pg_policy.oid, 'pg_policy') = '" ~ describe_policies(declaration, masked) ~ "'"
) %}
{{ return(found | length > 0) }}

{% endmacro %}
