{#
    Return the suffix of the schemas in which dbt builds: nothing, or `__next` if `dpe run` builds in shadow schemas
    (docs/guides/publishing.md).
#}
{% macro schema_suffix() %}

{{ return(var('dpe_schema_suffix', '')) }}

{% endmacro %}
