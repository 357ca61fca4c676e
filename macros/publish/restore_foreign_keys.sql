{#
    Give the copy of a table (clone_published) the foreign keys of the published one, which a copy loses. They refer to the
    shadow version of their table if that was built, which is the case by now.
#}
{% macro restore_foreign_keys(relation) %}

{% set suffix = dpe.schema_suffix() %}
{% if suffix and config.get('materialized') in ['incremental', 'snapshot'] %}
{% set published = relation.replace_path(schema=dpe.published_schema(model)) %}

{% call dpe.do_block() %}
declare
    lost record;
begin
    for lost in
        select
            conname,
            replace(
                pg_get_constraintdef(pg_constraint.oid),
                format('REFERENCES %s(', confrelid::regclass),
                format(
                    'REFERENCES %s(',
                    coalesce(to_regclass(format('%I.%I', nspname || '{{ suffix }}', relname)), confrelid::regclass)
                )
            ) as definition
        from pg_constraint
        inner join pg_class on confrelid = pg_class.oid
        inner join pg_namespace on relnamespace = pg_namespace.oid
        where
            contype = 'f'
            and conrelid = to_regclass({{ dpe.literal_of(published) }})
            and conname not in (select conname from pg_constraint where conrelid = {{ dpe.regclass_of(relation) }})
    loop
        execute format('alter table %s add constraint %I %s', {{ dpe.literal_of(relation) }}, lost.conname, lost.definition);
    end loop;
end
{% endcall %}

{% endif %}

{% endmacro %}
