{#
    Return whether a schema is not for relations of a project: dpe's, PostgreSQL's, one open to others, or one of other versions. The same as
    is_reserved() in dpe_cli/server/relations.py.
#}
{% macro is_reserved_schema(schema) %}

{{ return(
    schema in ['dpe', 'dpe_locks', 'information_schema', 'public']
    or modules.re.search('^pg_|__(next|previous|old_[0-9]+)$', schema) is not none
) }}

{% endmacro %}
