-- severity: error
-- title: A masked table without its masked readers' view
-- why: its columns may no longer be masked, and only the view shows which ones should be
-- A quarantine is masked without such a view. Earlier versions are closed to readers, and may lose their views first.
select
    masked.name as subject,
    'has the policy dpe_mask, but not the view that hides masked columns' as detail,
    'build it with dbt --full-refresh' as fix
from managed as masked
left join managed as shown
    on
        masked.schema_name = shown.schema_name
        and shown.relation_name = dpe.companion_name(masked.relation_name, '__masked')
        and shown.kind = 'v'
where
    shown.relation_id is null
    and masked.relation_name !~ '__quarantine$'
    and masked.schema_name !~ '__(previous|old_[0-9]+)$'
    and masked.relation_id in (
        select policies.relation_id
        from policies
        where policies.policy = 'dpe_mask'
    )
