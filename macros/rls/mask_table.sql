{#
    Create a table's view with null in its masked columns, so that masked readers can select all of it. The view runs with its reader's
    rights, so it never shows more than the table does. It is dropped once nothing is masked, together with what readers built on it, as
    dbt does for the table: that must not stop the build.
#}
{% macro mask_table(relation, masked, readers) %}

{% set view = dpe.masked_view() %}
{% if masked %}

drop view if exists {{ view }} cascade;
{% call dpe.do_block() %}
begin
    execute (
        select format(
            'create view %s with (security_invoker = true, security_barrier = true) as select %s from %s',
            {{ dpe.literal_of(view) }},
            string_agg(
                case
                    when attname = any ({{ dpe.array_of_names(masked) }})
                        then format('null::%s as %I', format_type(atttypid, atttypmod), attname)
                    else quote_ident(attname)
                end,
                ', '
                order by attnum
            ),
            {{ dpe.literal_of(relation) }}
        )
        from pg_attribute
        where attrelid = {{ dpe.regclass_of(relation) }} and attnum > 0 and not attisdropped
    );
end
{% endcall %}
comment on view {{ view }} is {{ dpe.literal_of('What masked readers see of ' ~ this.identifier ~ ': nothing in ' ~ masked | join(', ') ~ '.') }};
{{ dpe.protect_view(view, {'shared': true}, model.unique_id, readers) }}

{% elif config.get('materialized') in ['incremental', 'snapshot'] %}

{{ dpe.drop_masked_view() }}

{% endif %}

{% endmacro %}
