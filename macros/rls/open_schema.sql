{#
    Let readers use the schema of a relation that they may read, unless it is a shadow schema: publishing opens the published one
    (dpe_cli/publishing/swap.py). Another role's schema, such as marts, was opened by its owner.
#}
{% macro open_schema(relation) %}

{% if not schema_suffix() %}
do $dpe$
declare
    is_closed constant text := $query$
        select
        from pg_namespace
        where
            nspname = $1
            and pg_has_role(nspowner, 'usage')
            and not (
                has_schema_privilege('dpe_owner', oid, 'usage')
                and has_schema_privilege('dpe_reader', oid, 'usage')
                and has_schema_privilege('dpe_masked_reader', oid, 'usage')
                and has_schema_privilege('dpe_tenant', oid, 'usage')
            )
    $query$;
    found integer;
begin
    execute is_closed using {{ literal_of(relation.schema) }};
    get diagnostics found = row_count;
    if found > 0 then
        -- Two models that are built at once would change the schema's privileges at the same time, which PostgreSQL refuses.
        perform pg_advisory_xact_lock(hashtext('dpe.open_schema'));
        execute is_closed using {{ literal_of(relation.schema) }};
        get diagnostics found = row_count;
        if found > 0 then
            execute format('grant usage on schema %I to dpe_owner, dpe_reader, dpe_tenant, dpe_masked_reader', {{ literal_of(relation.schema) }});
        end if;
    end if;
end
$dpe$;
{% endif %}

{% endmacro %}
