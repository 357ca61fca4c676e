{#
    Refuse rows without a tenant: nobody could see them, and nobody would miss them.
#}
{% macro require_tenant(relation, column) %}

do $$
begin
    alter table {{ relation }} alter column {{ adapter.quote(column) }} set not null;
exception
    when not_null_violation then
        raise exception '{{ relation.schema }}.{{ relation.identifier }}: has rows without a {{ column | replace("'", "''") }}, the tenant that they belong to'
            using hint = 'Leave them out, give them a tenant, or keep them in quarantine with a not_null rule (on_failure: quarantine).';
end
$$;

{% endmacro %}
