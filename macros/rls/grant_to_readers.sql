{#
    Grant a relation to its readers: all of it to readers, all but the masked columns to masked readers. PostgreSQL itself denies
    them the masked ones (documentation, "GRANT": privileges on columns), also through views.
#}
{% macro grant_to_readers(relation, declaration, masked=[]) %}

{% if declaration.private %}
revoke all on {{ relation }} from dpe_reader, dpe_masked_reader;
{% elif masked %}
revoke all on {{ relation }} from dpe_masked_reader;
grant select on {{ relation }} to dpe_reader;
do $dpe$
begin
    execute (
        select format('grant select (%s) on %s to dpe_masked_reader', string_agg(quote_ident(attname), ', '), {{ dpe.literal_of(relation) }})
        from pg_attribute
        where
            attrelid = {{ dpe.regclass_of(relation) }}
            and attnum > 0
            and not attisdropped
            and attname <> all ({{ dpe.array_of_names(masked) }})
    );
end
$dpe$;
{% else %}
grant select on {{ relation }} to dpe_reader, dpe_masked_reader;
{% endif %}
{{ dpe.open_schema(relation) }}

{% endmacro %}
