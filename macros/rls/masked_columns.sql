{#
    Return the columns of a node that are hidden from masked readers, from its `meta.masked`.
#}
{% macro masked_columns(node) %}

{% set masked = (node.config.meta or {}).get('masked') or [] %}
{% if masked is string or masked is mapping or masked is not sequence or masked | select('string') | list | length != masked | length %}
    {{ exceptions.raise_compiler_error(
        node.name ~ " (" ~ node.original_file_path ~ "): meta.masked is " ~ masked ~ "; write a list of columns, such as [tailnum, passenger]"
    ) }}
{% endif %}
{{ return(masked) }}

{% endmacro %}
