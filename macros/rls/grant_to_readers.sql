{#
    Grant a relation to the roles of its readers: all of it to readers, all but the masked columns to masked readers
    (dpe_cli/server/sql/readers.sql).
#}
{% macro grant_to_readers(relation, readers, masked=[]) %}

{% if readers %}
select dpe.grant_to_readers(
    {{ dpe.regclass_of(relation) }},
    {{ dpe.array_of_names(readers) }},
    {{ dpe.array_of_names(masked) if masked else "'{}'" }}
);
{% endif %}
{{ dpe.open_schema(relation) }}

{% endmacro %}
