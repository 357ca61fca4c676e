{#
    Refuse to build if dbt acts without a context, or for one tenant only: it would not see the other tenants' rows, and would
    publish tables without them.
#}
{% macro require_context() %}

do $$
begin
    if not dpe.every_tenant_is_open() then
        raise exception 'no context for every tenant is open, so dbt sees no rows, or only some'
            using hint = 'Run dbt as `dpe dbt`, or set PGOPTIONS with `eval "$(dpe env)"`.';
    end if;
end
$$;

{% endmacro %}
