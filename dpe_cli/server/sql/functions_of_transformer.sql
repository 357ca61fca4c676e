-- Functions that dbt's macros and dpe call while a project is built: dpe_owner owns them, and only dpe_transformer may call them. The
-- loader, which counts what it has loaded, may call those that refuse to read code of others.
do $$
declare
    signature regprocedure;
begin
    foreach signature in array array[
        'dpe.administrators()',
        'dpe.code_in_definition(oid)',
        'dpe.code_of_others(oid, name[])',
        'dpe.described_code_of_others(oid, name[])',
        'dpe.sources_with_code(name[], name[])',
        'dpe.lock_as_queries_do(name, name, name[])',
        'dpe.lock_sources(name[], name[])',
        'dpe.refuse_code_of_others(name, name, name[])',
        'dpe.read_with_code()',
        'dpe.refuse_query_with_code(text, text)',
        'dpe.protection_of(oid)',
        'dpe.protection_differences(jsonb, jsonb)',
        'dpe.refuse_changes_of_hooks(regclass, text)',
        'dpe.revoke_privileges(regclass)',
        'dpe.reset_protection(regclass)',
        'dpe.is_protected(regclass, text)',
        'dpe.remember_protection(regclass, text, text, text)',
        'dpe.check_protection_at_commit()',
        'dpe.keep_protected_relation()',
        'dpe.changed_relations(text, jsonb)',
        'dpe.close_changed_relations(text, jsonb)',
        'dpe.refuse_rewriting_of_publications()',
        'dpe.grant_to_readers(regclass, name[], name[])',
        'dpe.require_group_of_readers(name)',
        'dpe.readers_of(oid)',
        'dpe.readers_outside(name, oid)',
        'dpe.open_schema(name, oid)',
        'dpe.readers_left_inside(name)',
        'dpe.close_schema(name)',
        'dpe.change_column_type(regclass, name, text)',
        'dpe.copy_sequences(regclass, regclass, name)',
        'dpe.copy_indexes(regclass, regclass, text, name)',
        'dpe.copy_table(regclass, name)',
        'dpe.count_failures(text, text, text)',
        'dpe.keep_newest_failures(text, integer)',
        'dpe.remember_failures(jsonb, text, timestamptz, text)',
        'dpe.remember_rules(text, jsonb, name[])',
        'dpe.resolve_failures_of_other_tests(text, text[])'
    ]::regprocedure[] loop
        execute format('alter function %s owner to dpe_owner', signature);
        execute format('revoke all on function %s from public, dpe_reader, dpe_masked_reader, dpe_auditor, dpe_tenant, dpe_loader cascade', signature);
        execute format('grant execute on function %s to dpe_transformer', signature);
    end loop;
    grant execute on function
        dpe.administrators(),
        dpe.code_in_definition(oid),
        dpe.code_of_others(oid, name[]),
        dpe.described_code_of_others(oid, name[]),
        dpe.lock_as_queries_do(name, name, name[]),
        dpe.refuse_code_of_others(name, name, name[])
    to dpe_loader;
end
$$;
