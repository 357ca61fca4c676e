-- severity: error
-- title: A mask that a view can remove
-- why: a reader's view or rule combines its privileges with the tenants of the masked reader that uses it
select
    protected.name as subject,
    'has masked columns, but no policy dpe_mask, which hides rows from masked readers that use a reader''s view or rule' as detail,
    'build it with dbt --full-refresh' as fix
from managed as protected
inner join managed as shown
    on
        protected.schema_name = shown.schema_name
        and shown.relation_name = dpe.companion_name(protected.relation_name, '__masked')
        and shown.kind = 'v'
where
    protected.is_table
    and not exists (
        select
        from policies
        where
            policies.relation_id = protected.relation_id
            and policies.policy = 'dpe_mask'
            and policies.command = 'r'
            and not policies.is_permissive
            and 'dpe_reader' = any(policies.roles)
            and (
                -- Dropped with its table meanwhile.
                policies.is_gone
                or policies.using_expression ~ 'SELECT\s+(CASE\s+WHEN\s+)?pg_has_role\(''dpe_masked_reader''::name, ''usage''::text\)'
                and policies.using_expression !~* ' or true'
            )
    )
