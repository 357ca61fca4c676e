{#
    Grant a relation to who may see it: to readers the whole of it, to masked readers all but the masked columns. PostgreSQL
    itself refuses them the others (documentation, "GRANT": privileges on columns), whatever they read it through.
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
        select format('grant select (%s) on {{ relation }} to dpe_masked_reader', string_agg(quote_ident(attname), ', '))
        from pg_attribute
        where
            attrelid = '{{ relation }}'::regclass
            and attnum > 0
            and not attisdropped
            and attname <> all ({{ array_of_names(masked) }})
    );
end
$dpe$;
{% else %}
grant select on {{ relation }} to dpe_reader, dpe_masked_reader;
{% endif %}

{% endmacro %}
