{#
    Index a column that the policies compare, unless an index already starts with it. PostgreSQL chooses the index's name, because
    the replaced table keeps its own index until dbt drops it.
#}
{% macro index_policy_column(relation, column) %}

{% call dpe.do_block() %}
begin
    if not exists (
        select
        from pg_index
        inner join pg_attribute on attrelid = indrelid and attnum = indkey[0]
        where indrelid = {{ dpe.regclass_of(relation) }} and attname = {{ dpe.literal_of(column) }}
    ) then
        create index on {{ relation }} ({{ dpe.quote_name(column) }});
    end if;
end
{% endcall %}

{% endmacro %}
