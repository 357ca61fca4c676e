{#
    Refuse to build what holds rows where dbt acts in no context, or for one tenant only: it sees no row of the others,
    and would publish tables without them.
#}
{% macro require_context() %}

do $$
begin
    if not dpe.every_tenant_is_open() then
        raise exception 'no context is open for every tenant, so dbt sees no rows, or not all'
            using hint = 'Run dbt as `dpe dbt`, or set PGOPTIONS with `eval "$(dpe env)"`.';
    end if;
end
$$;

{% endmacro %}
