{#
    Return what is put behind the schemas of what is built: nothing, or `__next` where `dpe run` builds beside what is
    published (docs/guides/publishing.md).
#}
{% macro schema_suffix() %}

{{ return(var('dpe_schema_suffix', '')) }}

{% endmacro %}
