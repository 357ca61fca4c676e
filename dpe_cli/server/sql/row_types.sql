-- PostgreSQL lets every role use the row type of a new table. Another role's table with a column of that type would keep a later version
-- of dpe from changing the type of a column, or from adding one with a default.
do $$
declare
    row_type regtype;
begin
    for row_type in
        select reltype
        from pg_class
        where relnamespace in ('dpe'::regnamespace, 'dpe_locks'::regnamespace) and relkind in ('r', 'p', 'v')
    loop
        execute format('revoke all on type %s from public', row_type);
    end loop;
end
$$;
